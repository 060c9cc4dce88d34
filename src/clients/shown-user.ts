/** What the API server calls a user may be of any length and hold line breaks: one line for people, and for an Event. */
export function shownUser(username: string): string {
  const line = username.replace(/[\p{C}\s]+/gu, ' ')
  return line.length > 253 ? `${line.slice(0, 252)}…` : line
}
