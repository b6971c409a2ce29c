import ArgumentParser
import Glibc
import Rotation

/// The token that verify, decode and refresh work on.
struct TokenArgument: ParsableArguments {
  @Argument(help: "The token; without it, or for -, standard input is read.")
  var token: String?

  /// The token's bytes, without white space around them; refused as malformed when they cannot be
  /// read or are too many.
  func read() throws(VerificationError) -> [UInt8] {
    let bytes: [UInt8]
    if let token, token != "-" {
      bytes = Array(token.utf8)
    } else {
      if isStandardInputTerminal { printNote("reading a token from the terminal, end with Ctrl-D") }
      do { bytes = try standardInput(upTo: 2 * Limits.tokenBytes) } catch {
        throw VerificationError(
          .malformed,
          error.code == EFBIG
            ? "longer than \(Limits.tokenBytes) bytes" : "standard input: \(error)")
      }
    }
    return TokenArgument.trimmed(bytes)
  }

  /// A token without the white space around it.
  static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
    let blanks: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d]
    let start = bytes.firstIndex { !blanks.contains($0) } ?? bytes.endIndex
    let end = bytes.lastIndex { !blanks.contains($0) }.map { $0 + 1 } ?? start
    return Array(bytes[start..<end])
  }
}
