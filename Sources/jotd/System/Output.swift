import CLinux
import Glibc
import Rotation

/// Standard input, output and error of the commands.

func writeToStandardError(_ text: String) { write(text, to: 2) }

/// Prints `text` and a newline. Ends the process with status 74 when standard output fails.
func printLine(_ text: String) { write(text + "\n", to: 1) }

/// Prints a line for people on standard error, so that standard output stays for programs.
func printNote(_ text: String) { write("jotd: \(redacted(text))\n", to: 2) }

/// All of standard input; EFBIG when it has more than `limit` bytes.
func standardInput(upTo limit: Int) throws(Failure) -> [UInt8] {
  let input = Descriptor(owning: try result { dup(0) })
  return try input.read(upTo: limit)
}

/// Whether standard input is a terminal, where somebody would have to type.
var isStandardInputTerminal: Bool { isatty(0) == 1 }

/// Columns of the terminal that standard output is; nil when it is none.
var terminalColumns: Int? {
  let columns = Int(linux_terminal_columns())
  return isatty(1) == 1 ? (columns > 0 ? columns : 80) : nil
}

/// Lines of that terminal; nil when it is none.
var terminalLines: Int? {
  let lines = Int(linux_terminal_lines())
  return isatty(1) == 1 ? (lines > 0 ? lines : 24) : nil
}

/// Prints `text` as it is.
func printRaw(_ text: String) { write(text, to: 1) }

private func write(_ text: String, to number: Int32) {
  do throws(Failure) {
    try Descriptor.write(Array(text.utf8), to: number)
  } catch {
    guard number == 1 else { return }
    // EX_IOERR of sysexits(3): whoever wanted the output has not got it.
    writeToStandardError("jotd: standard output cannot be written: \(error)\n")
    exit(74)
  }
}
