/// One place where an identity's tokens go, or a key's JWK Set, as the configuration describes it.
package enum Delivery: Hashable, Sendable {
  case file(FileDelivery)
  case socket(SocketDelivery)

  /// The path that this delivery alone may write.
  package var path: Path {
    switch self {
    case .file(let file): file.path
    case .socket(let socket): socket.path
    }
  }

  /// uid and gid that it is given to; nil where the configuration names none (see `FileDelivery`).
  package var owner: UInt32? {
    switch self {
    case .file(let file): file.owner
    case .socket(let socket): socket.owner
    }
  }
  package var group: UInt32? {
    switch self {
    case .file(let file): file.group
    case .socket(let socket): socket.group
    }
  }

  /// Whether what it holds outlives the daemon, so that a later run may find it.
  package var isLasting: Bool {
    switch self {
    case .file: true
    case .socket: false
    }
  }

  /// The most bytes that its clients take; nil for no bound.
  var maxBytes: UInt32? { if case .file(let file) = self { file.maxBytes } else { nil } }

  var isText: Bool {
    if case .file(let file) = self, case .text = file.format { true } else { false }
  }

  /// Whether it is written through in place of renamed over.
  package var isInPlace: Bool {
    switch self {
    case .file(let file): file.inPlace
    case .socket: false
    }
  }

  /// The bytes that the place holds when it holds `token` of `identity`.
  package func content(_ token: Token, of identity: Identity) -> [UInt8] {
    switch self {
    case .file(let file): file.format.render(token, of: identity)
    case .socket: token.compact
    }
  }

  /// What is delivered there, for people.
  package var noun: String {
    if case .file(let file) = self, file.format == .jwks { "a JWK Set" } else { "a token" }
  }

  /// Whether a file that this run has not written may be replaced, by what it holds: nothing, or a
  /// token or a part of one in one of the formats, with white space around it or none. Where tokens
  /// are written in place, also what a power cut leaves of two. Where a text is delivered, also one
  /// line with a token in it, which another template may have made. For a JWK Set, the same of one.
  package func isReplaceable(_ content: [UInt8]) -> Bool {
    // Zeros are what a power cut leaves of a file whose size was written, and nobody's data.
    let blanks: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d, 0]
    guard let first = content.firstIndex(where: { !blanks.contains($0) }),
      let last = content.lastIndex(where: { !blanks.contains($0) })
    else { return true }
    let text = Array(content[first...last])
    if case .file(let file) = self {
      switch file.format {
      case .jwks: return Format.isKeySet(text)
      case .text(let template):
        // A template may begin or end with white space.
        let whole = Array(content[...(content.lastIndex { $0 != 0 } ?? last)])
        if template.token(in: whole) != nil || Format.isLineWithToken(text)
          || isInPlace && template.isTorn(whole)
        {
          return true
        }
      case .token, .env, .json, .header: break
      }
    }
    if Format.compact(in: text).map(Format.isToken) == true { return true }
    return isInPlace && Format.isTorn(text)
  }

  /// The compact token inside `content`; nil when `content` has not this delivery's form.
  package func token(in content: [UInt8]) -> [UInt8]? {
    switch self {
    case .file(let file): file.format.token(in: content)
    case .socket: content
    }
  }
}
