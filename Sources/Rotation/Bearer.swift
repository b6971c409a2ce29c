/// Whom a token speaks for: a user of the camera service, with a role there, or, for verifiers that
/// know neither, a subject (RFC 7519 section 4.1.2).
package enum Bearer: Hashable, Sendable, CustomStringConvertible {
  /// The claims `user_id` and `role`.
  case user(ByteString, Role)
  /// The claim `sub`, one of the configured claims.
  case subject(ByteString)

  /// The subject that is among these claims; nil when there is none.
  package init?(subjectIn claims: [JSON.Member]) {
    guard case .string(let subject)? = JSON.object(claims)["sub"] else { return nil }
    self = .subject(ByteString(subject))
  }

  /// The user id, or the subject.
  package var name: String {
    switch self {
    case .user(let id, _): id.text
    case .subject(let subject): subject.text
    }
  }

  /// Nil for a subject, which has none.
  package var role: Role? {
    if case .user(_, let role) = self { role } else { nil }
  }

  /// For people: `front-door-client (operator)`, or the subject.
  package var description: String { role.map { "\(name) (\($0.rawValue))" } ?? name }

  /// What is told of it beside a token, as JSON: the claims' own names.
  package var members: [JSON.Member] {
    guard let role else { return [JSON.Member("sub", .string(name))] }
    return [JSON.Member("user_id", .string(name)), JSON.Member("role", .string(role.rawValue))]
  }
}
