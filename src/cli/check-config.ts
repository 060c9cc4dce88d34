/** `rayguard check-config`: everything that is wrong with the settings and with the files that they name, at once. */
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { type Command, exitCodes, UsageError } from './command.ts'
import { settingsFor } from './settings-file.ts'

export const command: Command = {
  name: 'check-config',
  summary: 'report every problem of a settings file and of the files it names',
  help: `Usage: rayguard check-config [FILE] [--components LIST]

Reads the settings as \`rayguard serve\` would, RAYGUARD_* variables included, and looks at each file that they name: the
server certificate and its key, the CA that pods trust for the enrollment listener, the authority. Problems and warnings
go to standard error; what the CA can for \`trust\` is told. Nothing is started and the cluster is not asked.

Arguments:
  FILE                settings file; default $RAYGUARD_CONFIG, else /etc/rayguard/config.yaml if there is one

Options:
  --config FILE       the same as FILE
  --components LIST   check for these components instead of those in the settings
  -h, --help          show this text

Exit codes: 0 no problem (warnings do not count); 2 problems, or wrong arguments.
`,
  async run(argumentsList, { environment, stdout, stderr }) {
    const { values, positionals } = parseArgs({
      args: argumentsList,
      allowPositionals: true,
      options: { config: { type: 'string' }, components: { type: 'string' } }
    })
    const files = [...positionals, ...(values.config === undefined ? [] : [values.config])]
    if (files.length > 1) {
      throw new UsageError(`expected one settings file, found ${files.length}: ${files.join(', ')}`)
    }
    const settings = await settingsFor(
      { config: files[0], components: values.components, environment },
      stderr
    )
    if (settings === undefined) return exitCodes.usage
    const { checkFiles } = await import('./check-files.ts')
    const { problems, warnings, notes } = await checkFiles(settings, {
      clock: Date.now,
      random: randomBytes
    })
    for (const problem of problems) stderr.write(`${problem}\n`)
    for (const warning of warnings) stderr.write(`warning: ${warning}\n`)
    if (problems.length > 0) {
      stderr.write(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}.\n`)
      return exitCodes.usage
    }
    for (const note of notes) stdout.write(`${note}\n`)
    stdout.write(`The settings are right for: ${settings.components.join(', ')}.\n`)
    return exitCodes.ok
  }
}
