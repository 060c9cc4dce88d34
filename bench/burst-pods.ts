/** Addresses of pods that this machine can send from: all of 127.0.0.0/8 is its own on Linux. */
export function podAddress(number: number): string {
  return `127.1.${Math.floor(number / 250)}.${(number % 250) + 1}`
}
