/**
 * The thread that parses, injects and compares for `POST /dry-run`: one question after the other, until it is ended.
 *
 * An entry of its own: what is not imported from here is not in the thread. It is given no environment.
 */
import { parentPort } from 'node:worker_threads'
import { answer, type Question } from './answer.ts'

parentPort?.on('message', (question: Question) => {
  const given = answer(question)
  parentPort?.postMessage(given, 'body' in given ? [given.body.buffer as ArrayBuffer] : [])
})
parentPort?.postMessage('ready')
