import Rotation

/// A private key as a JWK (RFC 7517; RFC 7518 section 6; RFC 8037 section 2).
struct PrivateJWK {
  let publicKey: PublicKey
  /// The member `kid`; nil without one, and where another is to be used.
  let kid: String?
  /// The key in DER, for libcrypto.
  let der: Secret

  /// The members that are secret, wherever they stand.
  private static let secretNames = ["d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k"]

  /// Whether `text` is JSON, if it is a key at all.
  static func isLikely(_ text: Secret) -> Bool {
    text.withSpan { bytes in
      let first = bytes.indices.first { ![0x20, 0x09, 0x0a, 0x0d].contains(bytes[$0]) }
      return first.map { bytes[$0] == UInt8(ascii: "{") } ?? false
    }
  }

  /// Reads `text`, a key for signing by `algorithm`, which may be named otherwise; throws what is
  /// wrong with it.
  init(parsing text: Secret, for algorithm: Algorithm, isNamed: Bool) throws(Failure) {
    let (open, places) = PrivateJWK.withoutSecrets(text)
    let jwk: JSON
    do throws(Failure) { jwk = try JSON(parsing: open) } catch {
      throw Failure("it begins like a JWK, and is not acceptable JSON: \(error.description)")
    }
    guard jwk["keys"] == nil else {
      throw Failure("it is a JWK Set: name a file with one key of it")
    }
    publicKey = try PublicKey(jwk: jwk)
    // Before libcrypto looks at it, which says less of what is wrong.
    if let fault = publicKey.fault(for: algorithm) { throw Failure(fault) }
    kid = isNamed ? nil : try PrivateJWK.kid(jwk)
    try PrivateJWK.checkPurpose(jwk, algorithm)
    func part(_ name: String, _ count: Int? = nil) throws(Failure) -> DER.Part {
      guard case .string("")? = jwk[name], let place = places[name] else {
        throw Failure("its \(name) is missing, which the private key takes")
      }
      let bytes = try PrivateJWK.decoded(text, place, name)
      guard bytes.count == count ?? bytes.count else {
        throw Failure("its \(name) has \(bytes.count) bytes, \(count!) are required")
      }
      return .secret(bytes)
    }
    let node: DER
    switch publicKey {
    case .ec(let curve, let x, let y):
      node = DER.key(on: curve, try part("d", curve.bytes), x, y)
    case .rsa(let modulus, let exponent):
      guard jwk["oth"] == nil else { throw Failure("it has more than two primes") }
      var numbers: [DER.Part] = [.open(modulus), .open(exponent)]
      for name in ["d", "p", "q", "dp", "dq", "qi"] { numbers.append(try part(name)) }
      node = DER.rsaKey(numbers)
    case .ed25519: node = DER.ed25519Key(try part("d", 32))
    }
    der = try Secret(capacity: node.count) { output in node.append(to: &output) }
  }

  private static func kid(_ jwk: JSON) throws(Failure) -> String? {
    guard let member = jwk["kid"] else { return nil }
    guard case .string(let kid) = member, KeyLabel.fault(inKid: kid) == nil else {
      throw Failure(
        "its kid is not usable: \(KeyLabel.fault(inKid: "")!). Say another with kid, beside it")
    }
    return kid
  }

  /// Whether the key says that it is for something else.
  private static func checkPurpose(_ jwk: JSON, _ algorithm: Algorithm) throws(Failure) {
    try PublicKey.demand("sign", of: jwk)
    guard let named = jwk["alg"] else { return }
    // Two names of one algorithm.
    let fitting = algorithm.keyKind == .ed25519 ? [Algorithm.edDSA, .ed25519] : [algorithm]
    guard case .string(let name) = named, fitting.contains(where: { $0.rawValue == name }) else {
      throw Failure("its alg is not \(algorithm.rawValue)")
    }
  }

  // MARK: Without the secret on the ordinary heap

  /// The text with each secret member empty, and where these were, by their names.
  private static func withoutSecrets(
    _ text: Secret
  ) -> (open: [UInt8], places: [String: Range<Int>]) {
    text.withSpan { bytes in
      var open: [UInt8] = []
      var places: [String: Range<Int>] = [:]
      // The last string, and that before the last colon.
      var last: Range<Int>?
      var name: String?
      var depth = 0
      var index = 0
      while index < bytes.count {
        let byte = bytes[index]
        guard byte == UInt8(ascii: "\"") else {
          switch byte {
          case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
          case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
          default: break
          }
          switch byte {
          case UInt8(ascii: ":"):
            name = last.flatMap { place in
              // A name with escapes may be any; what it names is needed by none.
              if place.contains(where: { bytes[$0] == UInt8(ascii: "\\") }) { return "" }
              return secretNames.first { name in
                name.utf8.count == place.count
                  && zip(name.utf8, place).allSatisfy { $0 == bytes[$1] }
              }
            }
          case 0x20, 0x09, 0x0a, 0x0d: break
          default: name = nil
          }
          open.append(byte)
          index += 1
          continue
        }
        var end = index + 1
        while end < bytes.count, bytes[end] != UInt8(ascii: "\"") {
          end += bytes[end] == UInt8(ascii: "\\") ? 2 : 1
        }
        end = min(end, bytes.count)
        open.append(byte)
        if let secret = name {
          if depth == 1 { places[secret] = index + 1..<end }
        } else {
          for place in index + 1..<end { open.append(bytes[place]) }
          last = index + 1..<end
        }
        if end < bytes.count { open.append(byte) }
        name = nil
        index = end + 1
      }
      return (open, places)
    }
  }

  /// The bytes of a member in base64url, without padding.
  private static func decoded(
    _ text: Secret, _ place: Range<Int>, _ name: String
  ) throws(Failure) -> Secret {
    let digits = try text.withSpan { bytes throws(Failure) -> Secret in
      try Secret(capacity: place.count) { output throws(Failure) in
        for index in place {
          guard Base64URL.isDigit(bytes[index]) else {
            throw Failure("its \(name) is not base64url")
          }
          output.append(bytes[index])
        }
      }
    }
    do throws(Failure) { return try digits.decoded(.base64) } catch {
      throw Failure("its \(name) is not base64url")
    }
  }
}
