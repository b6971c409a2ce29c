/// Where the JWK Set of a key (RFC 7517 section 5) is kept, for those who verify its tokens, and
/// what is done whenever another one is there.
package final class Publication: Equatable, Sendable {
  /// The name of the key.
  package let key: String
  /// Files that always hold the set.
  package let deliveries: [Delivery]
  package let hooks: [Hook]

  /// Each of `files` is in the format `jwks`, and there are at most `Limits.deliveries`.
  package init(key: String, files: [FileDelivery], hooks: [Hook]) {
    self.key = key
    deliveries = files.map(Delivery.file)
    self.hooks = hooks
  }

  package static func == (left: Publication, right: Publication) -> Bool {
    left === right || left.publishes(as: right) && left.hooks == right.hooks
  }

  /// Whether `other` is the same set at the same places, whatever is done afterwards.
  func publishes(as other: Publication) -> Bool {
    key == other.key && deliveries == other.deliveries
  }
}
