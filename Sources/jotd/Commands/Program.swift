import ArgumentParser
import Glibc

/// Runs the command line. The parser's errors quote what was typed, which may be a token.
@main
enum Program {
  static func main() {
    Hardening.occupyStandardDescriptors()
    // Who reads an output, or is asked something, may be gone: that is an error, and no end.
    signal(SIGPIPE, SIG_IGN)
    do {
      var command = try Jotd.parseAsRoot()
      try command.run()
    } catch {
      let code = Jotd.exitCode(for: error)
      let message = Jotd.fullMessage(for: error)
      if code == .success {
        printLine(message)
      } else if !message.isEmpty {
        writeToStandardError(redacted(message, keepingLines: true) + "\n")
      }
      Jotd.exit(withError: code)
    }
  }
}
