/// What a calendar and a clock show at an instant: the Gregorian calendar, UTC, whole seconds.
private struct CivilTime {
  let year: Int64
  /// 1 to 12, and 1 to 31.
  let month: Int64
  let day: Int64
  /// 0 is Sunday.
  let weekday: Int64
  let hour: Int64
  let minute: Int64
  let second: Int64

  init(_ instant: Instant) {
    let seconds = instant.wholeSeconds
    var days = seconds / 86_400
    var rest = seconds % 86_400
    if rest < 0 {
      days -= 1
      rest += 86_400
    }
    (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60)
    // The first of 1970 was a Thursday.
    weekday = ((days + 4) % 7 + 7) % 7
    // The year starts in March here, so that the leap day comes last.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
  }
}

extension Instant {
  /// RFC 3339 in UTC, whole seconds: `2026-11-23T18:17:00Z`. Independent of `TZ` and of locales.
  package var rfc3339: String {
    let time = CivilTime(self)
    let (dash, colon) = (UInt8(ascii: "-"), UInt8(ascii: ":"))
    // One array of known length: this is asked for each entry of the journal, several times.
    let text = [
      digit(time.year, 1_000), digit(time.year, 100), digit(time.year, 10), digit(time.year), dash,
      digit(time.month, 10), digit(time.month), dash, digit(time.day, 10), digit(time.day),
      UInt8(ascii: "T"), digit(time.hour, 10), digit(time.hour), colon, digit(time.minute, 10),
      digit(time.minute), colon, digit(time.second, 10), digit(time.second), UInt8(ascii: "Z"),
    ]
    guard (0...9_999).contains(time.year) else {
      var year: [UInt8] = []
      year.append(year: time.year)
      return String(decoding: year + text.dropFirst(4), as: UTF8.self)
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The date of HTTP (RFC 9110 section 5.6.7): `Mon, 23 Nov 2026 18:17:00 GMT`.
  package var httpDate: String {
    let time = CivilTime(self)
    var text: [UInt8] = []
    text.reserveCapacity(29)
    text.append(name: time.weekday, of: weekdays)
    text.append(UInt8(ascii: ","))
    text.append(UInt8(ascii: " "))
    text.append(twoDigits: time.day)
    text.append(UInt8(ascii: " "))
    text.append(name: time.month - 1, of: months)
    text.append(UInt8(ascii: " "))
    text.append(year: time.year)
    text.append(UInt8(ascii: " "))
    text.append(clockOf: time)
    text += " GMT".utf8
    return String(decoding: text, as: UTF8.self)
  }

  /// Reads what `rfc3339` writes, and nothing else.
  package init?(rfc3339 text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count == 20 else { return nil }
    // Digits alone, so that no field is larger than its place.
    let fields = [0..<4, 5..<7, 8..<10, 11..<13, 14..<16, 17..<19].compactMap { place -> Int64? in
      let digits = bytes[place]
      guard digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      return digits.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
    }
    guard fields.count == 6 else { return nil }
    let (year, month, day) = (fields[0] - (fields[1] <= 2 ? 1 : 0), fields[1], fields[2])
    let era = (year >= 0 ? year : year - 399) / 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let yearOfEra = year - era * 400
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    self.init(seconds: days * 86_400 + fields[3] * 3600 + fields[4] * 60 + fields[5])
    guard rfc3339 == text else { return nil }
  }
}

/// One of a number's digits: that of the units, the tens, and so on.
private func digit(_ number: Int64, _ scale: Int64 = 1) -> UInt8 {
  UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: number / scale % 10)
}

// The names of RFC 9110 section 5.6.7, three letters each.
private let weekdays = Array("SunMonTueWedThuFriSat".utf8)
private let months = Array("JanFebMarAprMayJunJulAugSepOctNovDec".utf8)

extension [UInt8] {
  fileprivate mutating func append(twoDigits number: Int64) {
    append(UInt8(ascii: "0") + UInt8(number / 10))
    append(UInt8(ascii: "0") + UInt8(number % 10))
  }

  /// Four digits, or as many as it has.
  fileprivate mutating func append(year: Int64) {
    if (0...9_999).contains(year) {
      append(twoDigits: year / 100)
      append(twoDigits: year % 100)
    } else {
      let digits = String(year)
      self += repeatElement(UInt8(ascii: "0"), count: Swift.max(0, 4 - digits.utf8.count))
      self += digits.utf8
    }
  }

  fileprivate mutating func append(clockOf time: CivilTime) {
    append(twoDigits: time.hour)
    append(UInt8(ascii: ":"))
    append(twoDigits: time.minute)
    append(UInt8(ascii: ":"))
    append(twoDigits: time.second)
  }

  fileprivate mutating func append(name index: Int64, of names: [UInt8]) {
    self += names[Int(index) * 3..<Int(index) * 3 + 3]
  }
}
