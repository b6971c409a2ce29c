/// `1 identity`, `2 identities`: a number with its word, whose plural ends in -ies after -y.
func counted(_ number: Int, _ word: String) -> String {
  if number == 1 { return "1 \(word)" }
  return "\(number) \(word.hasSuffix("y") ? "\(word.dropLast())ies" : "\(word)s")"
}
