/// A text that is compared and hashed byte for byte: `String` does so by canonical equivalence,
/// which takes two different texts for one, and its hash is slow.
package struct ByteString: Hashable, Sendable {
  package let text: String

  package init(_ text: String) { self.text = text }

  package static func == (left: ByteString, right: ByteString) -> Bool {
    let (left, right) = (left.text.utf8Span.span, right.text.utf8Span.span)
    return left.count == right.count && left.indices.allSatisfy { left[$0] == right[$0] }
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(text.fnv1a) }
}
