/// A text that is compared and hashed byte for byte: `String` does so by canonical equivalence,
/// which takes two different texts for one, and its hash is slow.
package struct ByteString: Hashable, Sendable {
  package let text: String

  package init(_ text: String) { self.text = text }

  package static func == (left: ByteString, right: ByteString) -> Bool {
    // What differs for a String differs in bytes, too, and is found out sooner.
    guard left.text == right.text else { return false }
    let (left, right) = (left.text.utf8Span.span, right.text.utf8Span.span)
    guard left.count == right.count else { return false }
    for index in left.indices where left[index] != right[index] { return false }
    return true
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(text.fnv1a) }
}
