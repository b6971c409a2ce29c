import Testing

@testable import Rotation

/// The values of the core: times, spans, encodings, roles, identities.
struct ValueTests {
  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (1_640_995_200, "2022-01-01T00:00:00Z"),
      (951_782_399, "2000-02-28T23:59:59Z"), (951_782_400, "2000-02-29T00:00:00Z"),
      (4_107_542_400, "2100-03-01T00:00:00Z"), (4_107_542_399, "2100-02-28T23:59:59Z"),
      (-1, "1969-12-31T23:59:59Z"), (-62_135_596_800, "0001-01-01T00:00:00Z"),
      (253_402_300_799, "9999-12-31T23:59:59Z"),
    ] as [(Int64, String)])
  func datesAreThoseOfTheCalendar(_ seconds: Int64, _ text: String) {
    #expect(Instant(seconds: seconds).rfc3339 == text)
  }

  /// RFC 9110 section 5.6.7, with its own example, and a leap day on every day of the week.
  @Test(
    arguments: [
      (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
      (-1, "Wed, 31 Dec 1969 23:59:59 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
      (1_078_012_800, "Sun, 29 Feb 2004 00:00:00 GMT"),
      (1_204_243_200, "Fri, 29 Feb 2008 00:00:00 GMT"),
      (1_330_473_600, "Wed, 29 Feb 2012 00:00:00 GMT"),
      (1_456_704_000, "Mon, 29 Feb 2016 00:00:00 GMT"),
      (1_582_934_400, "Sat, 29 Feb 2020 00:00:00 GMT"),
      (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
      (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] as [(Int64, String)])
  func datesOfHTTPAreThoseOfTheCalendar(_ seconds: Int64, _ text: String) {
    #expect(Instant(seconds: seconds).httpDate == text)
  }

  @Test func wholeSecondsRoundDown() {
    #expect(Instant(microseconds: 1_999_999).wholeSeconds == 1)
    #expect(Instant(microseconds: -1).wholeSeconds == -1)
    #expect(Instant(microseconds: -1_000_000).wholeSeconds == -1)
  }

  /// systemd.time(7), "Parsing Time Spans", with its own examples.
  @Test(
    arguments: [
      ("2 h", 7_200), ("2hours", 7_200), ("48hr", 172_800), ("1y 12month", 63_115_200),
      ("55s500ms", 55.5), ("300ms20s 5day", 432_020.3), ("24h", 86_400), ("1h 30min", 5_400),
      ("90s", 90), ("2d", 172_800), ("90", 90), ("1.5h", 5_400), (".5", 0.5), ("1.", 1),
      ("1M", 2_629_800), ("1m", 60), ("1w", 604_800), ("5µs", 0.000_005), ("0", 0), (" 3 s ", 3),
      ("2 weeks 1 day", 1_296_000),
    ] as [(String, Double)])
  func spansAreReadAsSystemdReadsThem(_ text: String, _ seconds: Double) {
    #expect(Duration(timeSpan: text) == .microseconds(Int64((seconds * 1e6).rounded())))
  }

  @Test(arguments: [
    "", " ", "h", "1x", "-1s", "+1s", "1..5s", "1.5.5", "infinity", "1h,", "1 000", "0x10", "1e3",
    "99999999999999999999", "999999999y", "١s", "1h\n", "1.2345678s", "s1", ".",
  ])
  func otherSpansAreRefused(_ text: String) {
    // "1 000" is one second and a thousand: systemd reads it so, too.
    if text == "1 000" {
      #expect(Duration(timeSpan: text) == .seconds(1))
    } else {
      #expect(Duration(timeSpan: text) == nil, "\(text)")
    }
  }

  @Test func spansAreWrittenSoThatTheyCanBeRead() {
    var random = Seeded(1)
    for _ in 0..<2_000 {
      let span = Duration.microseconds(Int64.random(in: 0...1_000_000_000_000, using: &random))
      #expect(Duration(timeSpan: span.timeSpan) == span)
    }
    #expect(Duration.seconds(93_784).timeSpan == "1d 2h 3min 4s")
    #expect(Duration.seconds(93_784).approximate == "1d 2h")
    #expect(Duration.milliseconds(1_500).timeSpan == "1.5s")
    #expect(Duration.milliseconds(999).approximate == "0s")
  }

  @Test(
    arguments: [
      ("0%", 0), ("20%", 200_000), ("0.5%", 5_000), ("12.5%", 125_000), ("99.9999%", 999_999),
      ("007%", 70_000), ("0.0001%", 1),
    ] as [(String, Int64)])
  func sharesAreRead(_ text: String, _ millionths: Int64) {
    #expect(Threshold(text) == .share(millionths: millionths))
  }

  @Test(arguments: [
    "%", "100%", "100.0%", "-1%", "+1%", "1%%", "1 %", " 1%", "1% ", ".5%", "5.%", "1.00001%",
    "1e1%", "1h 20%", "1.2.3%", "٢%", "20%\n", "99999999999999999999%", "0x1%",
  ])
  func otherSharesAreRefused(_ text: String) { #expect(Threshold(text) == nil) }

  @Test func aShareIsExactToTheMicrosecondAndBelowTheLifetime() {
    var random = Seeded(3)
    for _ in 0..<2_000 {
      let millionths = Int64.random(in: 0..<1_000_000, using: &random)
      let lifetime = Int64.random(in: 2...315_576_000, using: &random) * 1_000_000
      let span = Threshold.share(millionths: millionths).span(of: .microseconds(lifetime))
      #expect(Int128(span.microseconds) == Int128(lifetime) * Int128(millionths) / 1_000_000)
      #expect(span < .microseconds(lifetime))
    }
    #expect(Threshold("1h")?.span(of: .seconds(60)) == .seconds(3_600))
  }

  /// RFC 4648 section 10, without padding.
  @Test(arguments: [
    ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"),
    ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy"),
  ])
  func base64urlVectors(_ plain: String, _ encoded: String) {
    var text: [UInt8] = []
    Base64URL.append(Array(plain.utf8), to: &text)
    #expect(text == Array(encoded.utf8))
    #expect(Base64URL.decode(encoded.utf8) == Array(plain.utf8))
  }

  @Test func base64urlIsABijection() {
    var random = Seeded(2)
    for _ in 0..<2_000 {
      let bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      var text: [UInt8] = []
      Base64URL.append(bytes, to: &text)
      #expect(Base64URL.decode(text) == bytes)
      // Whatever decodes, decodes from its one encoding alone.
      guard !text.isEmpty else { continue }
      var changed = text
      changed[Int.random(in: 0..<text.count, using: &random)] = UInt8.random(
        in: 0...255, using: &random)
      if let other = Base64URL.decode(changed) {
        var again: [UInt8] = []
        Base64URL.append(other, to: &again)
        #expect(again == changed)
      }
    }
  }

  @Test func rolesAreOrdered() {
    #expect(Role.viewer < .operator && Role.operator < .admin && !(Role.admin < .viewer))
    #expect(Role(rawValue: "Admin") == nil)
  }

  @Test(arguments: [
    #"{"a":1,"b":[true,false,null,-0.5e+10,"\u00e9\ud83d\ude00\n"],"c":{}}"#, " [ ] ", "0", #""""#,
  ])
  func jsonIsReadAndWritten(_ text: String) throws {
    let value = try JSON(parsing: Array(text.utf8))
    let again = try JSON(parsing: Array(value.text.utf8))
    #expect(value.text == again.text)
  }

  @Test func jsonKeepsOrderNumbersAndUnnormalisedNames() throws {
    let text = #"{"z":1.50,"a":1E5,"\#u{e9}":0,"e\#u{301}":1}"#
    #expect(try JSON(parsing: Array(text.utf8)).text == text)
  }

  @Test func jsonEscapesWhatSteersATerminal() {
    #expect(
      JSON.string("\u{1b}\u{7f}\u{9b}\u{61c}\u{202e}").text
        == #""\u001b\u007f\u009b\u061c\u202e""#)
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "01", "1.", ".5",
    "+1", "1e", "nul", "truex", "\"", "\"\u{1}\"", "\"\\x\"", "\"\\ud800\"", "\"\\udc00\"", "{1:2}",
    "[1 2]", "1 2", "{\"a\" 1}", "\u{feff}1", "'a'", "NaN", "-", "\"\\u12g4\"", "\"\\u+123\"",
  ])
  func otherJSONIsRefused(_ text: String) {
    #expect(throws: Failure.self) { try JSON(parsing: Array(text.utf8)) }
  }

  @Test func jsonRefusesDepthAndForeignBytes() {
    let deep = String(repeating: "[", count: 33) + String(repeating: "]", count: 33)
    #expect(throws: Failure.self) { try JSON(parsing: Array(deep.utf8)) }
    #expect(throws: Never.self) {
      try JSON(parsing: Array(deep.dropFirst().dropLast().utf8))
    }
    #expect(throws: Failure.self) {
      try JSON(parsing: Array(deep.dropFirst().dropLast().utf8), inside: 1)
    }
    #expect(throws: Failure.self) { try JSON(parsing: [0x22, 0xff, 0x22]) }
  }

  /// To `String`, U+0301 after a slash and U+0600 before it make another character of it.
  @Test func pathsAreTakenApartByBytes() {
    let path = Path("/a\u{600}/..\u{301}/\u{301}b")
    #expect(
      path.names.map { Array($0.utf8) }
        == ["a\u{600}", "..\u{301}", "\u{301}b"].map { Array($0.utf8) })
    #expect(Path(path.name) == Path("\u{301}b") && path.folder == Path("/a\u{600}/..\u{301}"))
    #expect(Path("/\u{e9}") != Path("/e\u{301}") && Path("/").names.isEmpty)
  }

  /// With the longest lifetime in the last second of the kernel's clock (KTIME_MAX), too.
  @Test func theLongestTokenIsKnownToTheByte() throws {
    for padding in 0..<8 {
      for letter in ["u", "\u{2028}", "é"] {
        let identity = try Identity.sample(
          bearer: .user(ByteString(String(repeating: letter, count: 1 + padding)), .operator),
          lifetime: Limits.longestLifetime)
        let now = Instant(seconds: 9_223_372_036)
        let longest = sampleToken(identity, at: now).compact.count
        #expect(identity.template.canExceed(longest - 1, KeyLabel()))
        #expect(!identity.template.canExceed(longest, KeyLabel()))
      }
    }
  }

  /// Contract, section 4, point 2: no less than 2% of the window or 3 minutes, no more than 10%
  /// or 15 minutes, and identities minted together part.
  @Test func theSpreadIsThatOfTheContract() throws {
    var random = Seeded(3)
    for _ in 0..<3_000 {
      let life = Int64.random(in: 20...10_000_000, using: &random)
      let before = Int64.random(in: 0..<life - 11, using: &random)
      let identity = try Identity.sample(
        name: "i\(UInt32.random(in: 0 ... .max, using: &random))", lifetime: .seconds(life),
        refreshBefore: .seconds(before))
      let token = sampleToken(
        identity, at: Instant(seconds: Int64.random(in: 0...4_000_000_000, using: &random)))
      let early = token.expiresAt - identity.refreshBefore - identity.due(token)
      let window = Duration.seconds(life - before)
      #expect(early >= min(window * 0.02, .seconds(180)) - .microseconds(1))
      #expect(early <= min(window * 0.10, .seconds(900)) + .microseconds(1))
    }
    let due = try (0..<1_000).map { number in
      let identity = try Identity.sample(name: "i\(number)")
      return identity.due(sampleToken(identity, at: Instant(seconds: 1_000_000)))
    }
    let minutes = Set(due.map { $0.wholeSeconds / 60 })
    #expect(minutes.count >= 12)
  }

  /// Whatever the template: the token is read back, and no cut makes the text somebody else's.
  @Test func textsAreReadBack() throws {
    var random = Seeded(5)
    let token = sampleToken(try .sample(), at: Instant(seconds: 1_000_000_000))
    for _ in 0..<300 {
      let text =
        (0...Int.random(in: 0...6, using: &random)).map { _ in
          ["{token}", "{identity}", "{expires_at}", "a=", "{ ", "}\n", "eyJ"].randomElement(
            using: &random)!
        }.joined() + "{token}"
      let template = try TextTemplate(text, identity: "me")
      let content = template.render(token)
      let shown = String(decoding: token.compact, as: UTF8.self)
      #expect(
        String(decoding: content, as: UTF8.self)
          == text.split(separator: "{identity}", omittingEmptySubsequences: false)
          .joined(separator: "me").split(separator: "{token}", omittingEmptySubsequences: false)
          .joined(separator: shown)
          .split(separator: "{expires_at}", omittingEmptySubsequences: false)
          .joined(separator: token.expiresAt.rfc3339))
      #expect(template.token(in: content) == token.compact)
      #expect(template.token(in: content + [0x0a]) == nil && template.token(in: []) == nil)
      let cut = Int.random(in: 0...content.count, using: &random)
      let older = template.render(sampleToken(try .sample(), at: Instant(seconds: 999_000_000)))
      #expect(template.isTorn(Array(content.prefix(cut)) + Array(older.dropFirst(cut))))
      let first = text.split(separator: "{token}", omittingEmptySubsequences: false)[0]
      let head = try TextTemplate("\(first){token}", identity: "me").render(token).count
      #expect(
        template.isTorn(Array(content.prefix(cut))) == (cut >= head - token.compact.count + 3))
      #expect(content.count <= template.mostBytes)
    }
  }

  @Test func aRotationIsNeverDueInTheSecondOfItsToken() throws {
    for tenths in 1...30 {
      let identity = try Identity.sample(
        lifetime: .seconds(3), refreshBefore: .milliseconds(3_000 - 100 * tenths))
      let token = sampleToken(identity, at: Instant(seconds: 7))
      #expect(identity.due(token) >= Instant(seconds: 8))
    }
  }
}
