/// One place where an identity's tokens go, as the configuration describes it: a value, no deed.
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

  /// uid and gid that it is given to, nil for the daemon's own.
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

  /// Whether a file that this run has not written may be replaced, by what it holds: nothing, or a
  /// token or a part of one in one of the formats, with white space around it or none. Where tokens
  /// are written in place, also what a power cut leaves of two.
  package func isReplaceable(_ content: [UInt8]) -> Bool {
    // Zeros are what a power cut leaves of a file whose size was written, and nobody's data.
    let blanks: Set<UInt8> = [0x20, 0x09, 0x0a, 0x0d, 0]
    guard let first = content.firstIndex(where: { !blanks.contains($0) }),
      let last = content.lastIndex(where: { !blanks.contains($0) })
    else { return true }
    let text = Array(content[first...last])
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

/// A file that always holds the identity's fresh token.
package struct FileDelivery: Hashable, Sendable {
  package let path: Path
  package let format: Format
  /// uid and gid, nil for the daemon's own.
  package let owner: UInt32?
  package let group: UInt32?
  /// Permission bits, 0 to 0o7777.
  package let mode: UInt16
  /// Written through in place of renamed over: for a target that is a mount point.
  package let inPlace: Bool

  package init(
    path: Path, format: Format, owner: UInt32?, group: UInt32?, mode: UInt16, inPlace: Bool
  ) {
    self.path = path
    self.format = format
    self.owner = owner
    self.group = group
    self.mode = mode
    self.inPlace = inPlace
  }
}

/// A Unix socket that gives the identity's fresh token to whoever connects and reads.
package struct SocketDelivery: Hashable, Sendable {
  package let path: Path
  /// uid and gid, nil for the daemon's own.
  package let owner: UInt32?
  package let group: UInt32?
  /// Permission bits: who may connect needs to be able to write (unix(7)).
  package let mode: UInt16

  package init(path: Path, owner: UInt32?, group: UInt32?, mode: UInt16) {
    self.path = path
    self.owner = owner
    self.group = group
    self.mode = mode
  }
}

/// An absolute path, compared byte for byte as the kernel does (`String` compares by canonical
/// equivalence, which takes two different files for one).
package struct Path: Hashable, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }

  package static func == (left: Path, right: Path) -> Bool {
    left.description.utf8.elementsEqual(right.description.utf8)
  }
  package func hash(into hasher: inout Hasher) {
    for byte in description.utf8 { hasher.combine(byte) }
  }

  /// The names between the slashes, as the kernel finds them: to `String.split`, a slash with a
  /// combining mark after it is another character.
  package var names: [String] {
    description.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
  }
  /// What follows the last slash.
  package var name: String { names.last ?? "" }
  /// What precedes the last slash; `/` for a file in the root folder.
  package var folder: Path {
    let parent = description.utf8.lastIndex(of: UInt8(ascii: "/")).map { description[..<$0] } ?? ""
    return Path(parent.isEmpty ? "/" : String(parent))
  }
}

/// What a delivered file looks like.
package enum Format: Hashable, Sendable {
  /// The compact token, no newline.
  case token
  /// `NAME=token` and a newline: for `EnvironmentFile=` (systemd.exec(5)) and `source`.
  case env(variable: String)
  /// One JSON object with the token and what is known of it.
  case json
  /// `Authorization: Bearer token` and a newline (RFC 6750 section 2.1): for `curl -H @file`.
  case header

  /// The names in the configuration.
  package static let names = ["token", "env", "json", "header"]

  private static let jsonStart = Array(#"{"identity":""#.utf8)
  private static let headerStart = Array("Authorization: Bearer ".utf8)

  /// The bytes of a file in this format that holds `token` of `identity`.
  package func render(_ token: Token, of identity: Identity) -> [UInt8] {
    switch self {
    case .token: return token.compact
    case .env(let variable): return Array("\(variable)=".utf8) + token.compact + [0x0a]
    case .header: return Format.headerStart + token.compact + [0x0a]
    case .json:
      let object = JSON.object([
        JSON.Member("identity", .string(identity.name)),
        JSON.Member("token", .string(String(decoding: token.compact, as: UTF8.self))),
        JSON.Member("user_id", .string(identity.userID)),
        JSON.Member("role", .string(identity.role.rawValue)),
        JSON.Member("issued_at", .string(Instant(seconds: token.issuedAt).rfc3339)),
        JSON.Member("expires_at", .string(token.expiry.rfc3339)),
        JSON.Member("refresh_at", .string(identity.due(token).rfc3339)),
      ])
      var bytes: [UInt8] = []
      object.append(to: &bytes)
      return bytes + [0x0a]
    }
  }

  fileprivate func token(in content: [UInt8]) -> [UInt8]? {
    switch self {
    case .token: return content
    case .env(let variable): return line(content, after: Array("\(variable)=".utf8))
    case .header: return line(content, after: Format.headerStart)
    case .json:
      guard case .string(let text)? = (try? JSON(parsing: content))?["token"] else { return nil }
      return Array(text.utf8)
    }
  }

  /// What stands where a token does in `text`, in whichever format it is; nil for none.
  fileprivate static func compact(in text: [UInt8]) -> [UInt8]? {
    if text.first == UInt8(ascii: "{") { return Format.json.token(in: text) }
    if text.starts(with: headerStart) { return Array(text.dropFirst(headerStart.count)) }
    // A token has no equals sign.
    return text.firstIndex(of: UInt8(ascii: "=")).map { Array(text[$0...].dropFirst()) } ?? text
  }

  /// Whether `text` can be a token or the beginning of one: a JWT's header is a JSON object.
  fileprivate static func isToken(_ text: [UInt8]) -> Bool {
    text.count <= Limits.tokenBytes && text.starts(with: "eyJ".utf8)
      && text.allSatisfy(isPart)
  }

  /// Whether `text` can be what one write of jotd leaves when it is cut off: the beginning of a new
  /// content, and the rest of an older and longer one.
  fileprivate static func isTorn(_ text: [UInt8]) -> Bool {
    if text.starts(with: jsonStart) {
      let name = text.dropFirst(jsonStart.count).prefix { $0 != UInt8(ascii: "\"") }
      return Identity.fault(inName: String(decoding: name, as: UTF8.self)) == nil
        && text[name.endIndex...].starts(with: #"","token":"eyJ"#.utf8)
    }
    guard let token = compact(in: text) else { return false }
    let lines = token.split(separator: 0x0a, omittingEmptySubsequences: false)
    return lines.count <= 2 && isToken(Array(lines[0]))
      && lines.dropFirst().allSatisfy { !$0.starts(with: "eyJ".utf8) && $0.allSatisfy(isPart) }
  }

  private static func isPart(_ byte: UInt8) -> Bool {
    Base64URL.isDigit(byte) || byte == UInt8(ascii: ".")
  }

  private func line(_ content: [UInt8], after start: [UInt8]) -> [UInt8]? {
    guard content.starts(with: start), content.last == 0x0a else { return nil }
    return Array(content.dropFirst(start.count).dropLast())
  }
}
