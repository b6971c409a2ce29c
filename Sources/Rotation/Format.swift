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
  /// Any text with the token in it: for a client's own files.
  case text(TextTemplate)
  /// A JWK Set (RFC 7517 section 5): for the places of a publication alone.
  case jwks

  /// The names in the configuration, for tokens.
  package static let names = ["token", "env", "json", "header", "text"]

  private static let jsonStart = Array(#"{"identity":""#.utf8)
  private static let keysStart = Array(#"{"keys":["#.utf8)
  private static let headerStart = Array("Authorization: Bearer ".utf8)

  /// The bytes of a file in this format that holds `token` of `identity`.
  package func render(_ token: Token, of identity: Identity) -> [UInt8] {
    switch self {
    case .token, .jwks: return token.compact
    case .env(let variable): return Array("\(variable)=".utf8) + token.compact + [0x0a]
    case .header: return Format.headerStart + token.compact + [0x0a]
    case .text(let template): return template.render(token)
    case .json:
      let object = JSON.object(
        [
          JSON.Member("identity", .string(identity.name)),
          JSON.Member("token", .string(String(decoding: token.compact, as: UTF8.self))),
        ] + identity.bearer.members + [
          JSON.Member("issued_at", .string(token.issuedAt.rfc3339)),
          JSON.Member("expires_at", .string(token.expiresAt.rfc3339)),
          JSON.Member("refresh_at", .string(identity.due(token).rfc3339)),
        ])
      var bytes: [UInt8] = []
      object.append(to: &bytes)
      return bytes + [0x0a]
    }
  }

  func token(in content: [UInt8]) -> [UInt8]? {
    switch self {
    case .token, .jwks: return content
    case .env(let variable): return line(content, after: Array("\(variable)=".utf8))
    case .header: return line(content, after: Format.headerStart)
    case .text(let template): return template.token(in: content)
    case .json:
      guard case .string(let text)? = (try? JSON(parsing: content))?["token"] else { return nil }
      return Array(text.utf8)
    }
  }

  /// What stands where a token does in `text`, in whichever format it is; nil for none.
  static func compact(in text: [UInt8]) -> [UInt8]? {
    if text.first == UInt8(ascii: "{") { return Format.json.token(in: text) }
    if text.starts(with: headerStart) { return Array(text.dropFirst(headerStart.count)) }
    // A token has no equals sign, and a variable's name no newline.
    guard let equals = text.firstIndex(of: UInt8(ascii: "=")), !text[..<equals].contains(0x0a)
    else { return text }
    return Array(text[equals...].dropFirst())
  }

  /// Whether `text` can be a token or the beginning of one: a JWT's header is a JSON object.
  static func isToken(_ text: [UInt8]) -> Bool {
    text.count <= Limits.tokenBytes && text.starts(with: "eyJ".utf8)
      && text.allSatisfy(isPart)
  }

  /// Whether a token stands in `text`, among other things.
  static func hasToken(_ text: [UInt8]) -> Bool {
    text.split(whereSeparator: { !isPart($0) }).contains { word in
      word.count { $0 == UInt8(ascii: ".") } == 2 && isToken(Array(word))
    }
  }

  /// Whether `text` is one line with a token in it, as a template can make one, and no JSON.
  static func isLineWithToken(_ text: [UInt8]) -> Bool {
    text.count <= Limits.tokenBytes + Limits.templateBytes && !text.contains(0x0a)
      && text.first != UInt8(ascii: "{") && text.first != UInt8(ascii: "[") && hasToken(text)
  }

  /// Whether `text` is a JWK Set, or begins as one that jotd wrote.
  static func isKeySet(_ text: [UInt8]) -> Bool {
    if text.starts(with: keysStart) { return true }
    guard case .array? = (try? JSON(parsing: text))?["keys"] else { return false }
    return true
  }

  /// The most bytes of a file in this format: of a token, with a few hundred around it.
  package var mostBytes: Int {
    switch self {
    case .jwks: Limits.publicKeysBytes
    case .text(let template): template.mostBytes
    case .token, .env, .json, .header: Limits.tokenBytes + 4096
    }
  }

  /// Whether `text` can be what one write of jotd leaves when it is cut off: the beginning of a new
  /// content, and the rest of an older and longer one.
  static func isTorn(_ text: [UInt8]) -> Bool {
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

  /// Whether it can stand in a token.
  static func isPart(_ byte: UInt8) -> Bool {
    Base64URL.isDigit(byte) || byte == UInt8(ascii: ".")
  }

  private func line(_ content: [UInt8], after start: [UInt8]) -> [UInt8]? {
    guard content.starts(with: start), content.last == 0x0a else { return nil }
    return Array(content.dropFirst(start.count).dropLast())
  }
}
