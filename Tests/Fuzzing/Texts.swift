@testable import Rotation
@testable import jotd

/// A span of time: what is accepted is not negative, at most a billion seconds, and the same when
/// it is written and read again.
@Sendable func readSpan(_ bytes: [UInt8]) {
  guard let span = Duration(timeSpan: String(decoding: bytes, as: UTF8.self)) else { return }
  precondition(span >= .zero && span <= .seconds(1_000_000_000))
  precondition(Duration(timeSpan: span.timeSpan) == span, span.timeSpan)
  precondition(!span.approximate.isEmpty)
}

/// A date, as a token has it and as a report has it: what RFC 3339 writes is read as the same.
@Sendable func readDate(_ bytes: [UInt8]) {
  let text = String(decoding: bytes, as: UTF8.self)
  if let instant = Instant(rfc3339: text) { precondition(instant.rfc3339 == text) }
  guard let value = try? JSON(parsing: bytes), let date = NumericDate(value) else { return }
  precondition(!date.when.isEmpty && !(now - date.instant).approximate.isEmpty)
  guard date.isInCalendar else { return }
  let whole = Instant(seconds: date.instant.wholeSeconds)
  precondition(Instant(rfc3339: date.instant.rfc3339) == whole, date.when)
}

/// An answer of the daemon, as `status` and the other commands read it: what they show steers no
/// terminal and has no token.
@Sendable func readAnswer(_ bytes: [UInt8]) {
  guard let answer = try? QueryAnswer(bytes) else { return }
  precondition((200...599).contains(answer.status) && answer.body.count < bytes.count)
  checkShown(redacted(answer.problem), mayHaveLines: false)
  guard let report = answer.json, let identities = report["identities"]?.members else { return }
  let notes = (report["notes"]?.elements ?? []).compactMap(\.string)
  checkShown(
    StatusTable(columns: nil, now: now).text(identities, notes: notes), mayHaveLines: true)
  for columns in [1, 60, 200] {
    let page = StatusTable(columns: columns, now: now).text(identities, notes: notes)
    precondition(page.hasSuffix("\n"))
  }
}

/// Any text from outside: what is shown of it is bounded, steers no terminal and has no token.
@Sendable func showText(_ bytes: [UInt8]) {
  let text = String(decoding: bytes, as: UTF8.self)
  for limit in [64, 256, Limits.shownBytes] {
    for keepingLines in [false, true] {
      let shown = redacted(text, upTo: limit, keepingLines: keepingLines)
      precondition(shown.utf8.count <= limit, "\(shown.utf8.count) of \(limit)")
      checkShown(shown, mayHaveLines: keepingLines)
    }
  }
}

/// That a terminal and a journal may have `text`.
private func checkShown(_ text: String, mayHaveLines: Bool) {
  for scalar in text.unicodeScalars where !(mayHaveLines && scalar == "\n") {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
      fatalError("\(scalar.value) is shown")
    default: break
    }
  }
  let bytes = Array(text.utf8)
  precondition(!bytes.indices.contains { bytes[$0...].starts(with: "eyJ".utf8) }, text)
}
