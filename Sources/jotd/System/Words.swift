/// `1 identity`, `2 identities`: a number with its word, whose plural ends in -ies after -y.
func counted(_ number: Int, _ word: String) -> String {
  if number == 1 { return "1 \(word)" }
  return "\(number) \(word.hasSuffix("y") ? "\(word.dropLast())ies" : "\(word)s")"
}

/// The parts one behind the other. For what is written for each token: it reserves what it takes,
/// which interpolation cannot know, and bytes are put together faster than text.
func joined(_ parts: String...) -> String {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(parts.reduce(0) { $0 + $1.utf8.count })
  for part in parts { bytes += part.utf8 }
  return String(decoding: bytes, as: UTF8.self)
}
