/// What an identity's tokens are signed with, by its name, and what they were signed with before.
package struct Key: Sendable {
  /// The name of the only key, where it has none, and of the one for identities that name none.
  package static let standardName = "default"

  package let name: String
  /// What new tokens are signed with; or why that cannot be had now.
  package let source: Result<any Signer, Failure>
  /// What the configuration says that they were signed with before.
  package let previous: (any Signer)?
  /// Of a ring, all others that verifiers are to know; nil for a key that is no ring.
  package let others: [any SignatureVerifier]?
  /// Where its JWK Set is kept; nil for nowhere.
  package let publication: Publication?
  /// What `signing` replaced while jotd ran, the latest first.
  var replaced: [Replaced] = []

  struct Replaced {
    let signer: any Signer
    /// When the last of its tokens ends: who has it may go on making tokens, which are not believed
    /// for longer.
    let until: Instant
  }

  package init(
    name: String, source: Result<any Signer, Failure>, previous: (any Signer)? = nil,
    others: [any SignatureVerifier]? = nil, publication: Publication? = nil
  ) {
    self.name = name
    self.source = source
    self.previous = previous
    self.others = others
    self.publication = publication
  }

  package init(
    name: String, signing: any Signer, previous: (any Signer)? = nil,
    others: [any SignatureVerifier]? = nil, publication: Publication? = nil
  ) {
    self.init(
      name: name, source: .success(signing), previous: previous, others: others,
      publication: publication)
  }

  /// What new tokens are signed with; nil while that cannot be had.
  package var signing: (any Signer)? { try? source.get() }
  /// Why it cannot be had; nil when it can.
  package var absence: Failure? {
    if case .failure(let failure) = source { failure } else { nil }
  }

  /// What its tokens may have been signed with before, or may be next, to be believed at `now`.
  func others(at now: Instant) -> [any SignatureVerifier] {
    (previous.map { [$0] } ?? []) + (others ?? [])
      + replaced.filter { $0.until > now }.map(\.signer)
  }

  /// When the next of those ends that have a public key; nil when none does.
  func nextEnd(after now: Instant) -> Instant? {
    replaced.lazy.filter { $0.until > now && $0.signer.publicKey != nil }.map(\.until).min()
  }

  /// The same, with its JWK Set kept there.
  package func published(at publication: Publication?) -> Key {
    Key(name: name, source: source, previous: previous, others: others, publication: publication)
  }

  /// The same, but that `signer` signs.
  func signed(by signer: any Signer) -> Key {
    Key(
      name: name, signing: signer, previous: previous, others: others, publication: publication)
  }
}

/// What is known of a key without it: its name, and what its tokens show of it.
package struct KeyLabel: Hashable, Sendable {
  package let name: String
  package let algorithm: Algorithm
  /// The header parameter `kid` of its tokens (RFC 7515 section 4.1.4), as the configuration says;
  /// nil for none, or, with a private key, for what the key itself says.
  package let kid: String?

  package init(name: String = Key.standardName, algorithm: Algorithm = .hs256, kid: String? = nil) {
    self.name = name
    self.algorithm = algorithm
    self.kid = kid
  }

  /// The longest that `kid` can be in the tokens.
  var longestKid: String? {
    kid ?? (algorithm.takesSecret ? nil : String(repeating: "x", count: Limits.kidBytes))
  }

  package static func fault(inKid kid: String) -> String? {
    TokenTemplate.isWord(kid, upTo: Limits.kidBytes)
      ? nil : "a kid is 1 to \(Limits.kidBytes) of \(TokenTemplate.wordRule)"
  }
}
