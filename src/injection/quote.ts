/** Names of somebody else's in texts of ours. */

/**
 * What a reader does not see: controls, marks that turn the writing direction, and line ends that only some programs know.
 *
 * Attack: go-yaml and so kubectl end a line at U+0085, U+2028 and U+2029 (YAML 1.1 §5.4), so that the rest of a comment or a
 * value becomes YAML of its own; a turned direction (U+202E) shows a reviewer another name than the one that counts.
 */
export const hiddenCharacters = /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu

/** A name from a pod, fit for a message: in quotes as JSON has them, cut, without hidden characters. */
export function quote(name: string): string {
  const text = JSON.stringify(name.length > 80 ? `${name.slice(0, 77)}...` : name)
  return text.replace(hiddenCharacters, character =>
    Array.from({ length: character.length }, (_, at) => hexadecimal(character.charCodeAt(at))).join(
      ''
    )
  )
}

/** RFC 8259 §7. */
function hexadecimal(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`
}
