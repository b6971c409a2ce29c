import Testing

@testable import jotd

/// What a log may show of what anybody wrote. Tests/binary/test_masking.py has the long list.
struct RedactionTests {
  @Test func tokensAreMasked() {
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"
    for text in [token, "at /v1/\(token)/x", "\"\(token)\"", "%7e" + token] {
      let shown = redacted(text)
      #expect(!shown.contains("eyJ") && !shown.contains("c2lnbmF0"), "\(shown)")
    }
  }

  @Test func whatSteersATerminalIsEscaped() {
    #expect(redacted("a\u{1b}[31mb") == "a\\u{1b}[31mb")
    #expect(redacted("a\u{202e}b") == "a\\u{202e}b")
    #expect(!redacted("a\nb").contains("\n") && redacted("a\nb", keepingLines: true) == "a\nb")
  }

  @Test func whatIsLongIsCut() {
    let shown = redacted(String(repeating: "word ", count: 1_000), upTo: 100)
    #expect(shown.utf8.count <= 100 && shown.contains("cut"))
  }
}
