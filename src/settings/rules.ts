/** What has to hold between several settings. */

import { durationSeconds } from './duration.ts'
import type { Problem } from './node.ts'
import type { SettingsFile } from './schema.ts'

/** Problems of a file whose every value is right alone. */
export function ruleProblems(settings: SettingsFile): Problem[] {
  return [...componentRules(settings), ...portRules(settings), ...shutdownRules(settings)]
}

function componentRules({ components, injection, authority }: SettingsFile): Problem[] {
  const problems: Problem[] = []
  if (components.includes('webhook')) {
    const reason = 'is missing: the webhook component needs it'
    if (injection.serverUrl === undefined) {
      problems.push({
        path: ['injection', 'serverUrl'],
        message: `${reason}, to tell pods where they enroll`
      })
    }
    if (injection.serverCaFile === undefined) {
      problems.push({
        path: ['injection', 'serverCaFile'],
        message: `${reason}, to tell pods whom to trust when they enroll`
      })
    }
  }
  if (components.includes('enrollment') && authority === undefined) {
    problems.push({
      path: ['authority'],
      message: 'is missing: the enrollment component needs it, to sign'
    })
  }
  return problems
}

function portRules({ components, listen }: SettingsFile): Problem[] {
  const used = [...components, 'ops' as const].filter(name => listen[name].port !== 0)
  return used.flatMap((name, index) => {
    const earlier = used.slice(0, index).find(other => listen[other].port === listen[name].port)
    return earlier === undefined
      ? []
      : [
          {
            path: ['listen', name, 'port'],
            message: `expected a port of its own, found ${listen[name].port}, which is listen.${earlier}.port too`
          }
        ]
  })
}

function shutdownRules({ shutdown }: SettingsFile): Problem[] {
  const drain = durationSeconds(shutdown.drain) ?? 0
  const deadline = durationSeconds(shutdown.deadline) ?? 0
  return deadline > drain
    ? []
    : [
        {
          path: ['shutdown', 'deadline'],
          message: `expected more than shutdown.drain (${shutdown.drain}), found ${shutdown.deadline}`
        }
      ]
}
