import ArgumentParser

/// Runs the command line. The parser's messages quote what was typed: a token in them is cut out,
/// because messages end up in logs.
@main
enum Program {
  static func main() {
    do {
      var command = try Jotd.parseAsRoot()
      try command.run()
    } catch {
      let code = Jotd.exitCode(for: error)
      let message = Jotd.fullMessage(for: error).replacing(
        #/eyJ[A-Za-z0-9_.\-]*/#.matchingSemantics(.unicodeScalar), with: "(a token, not shown)")
      if code == .success {
        printLine(message)
      } else if !message.isEmpty {
        writeToStandardError(message + "\n")
      }
      Jotd.exit(withError: code)
    }
  }
}
