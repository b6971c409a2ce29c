/// How the JWK Set of a key stands at its places.
package struct PublicationStatus: Sendable {
  /// The name of the key.
  package let key: String
  /// Whether a place holds no set at all: whoever reads there can verify nothing.
  package let isMissing: Bool
  /// Whether every place holds the set that the keys make now.
  package let isComplete: Bool
  /// What fails now, in the order of the places.
  package let failures: [Failure]

  /// Nil for what is no publication.
  init?(_ state: RotationState, _ agenda: Agenda) {
    guard case .publication(let publication) = state.subject else { return nil }
    key = publication.key
    isComplete = state.isDelivered && state.token.map { state.isCurrent($0, agenda) } ?? false
    isMissing = state.held.contains(nil)
    failures = state.failures.sorted { $0.key < $1.key }.map(\.value)
  }
}
