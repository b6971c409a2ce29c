/// The half of a key that verifies, which everybody may know.
package enum PublicKey: Hashable, Sendable {
  /// A point of a curve; each coordinate has `curve.bytes`.
  case ec(Curve, x: [UInt8], y: [UInt8])
  /// Both big-endian, without zeros before them.
  case rsa(modulus: [UInt8], exponent: [UInt8])
  /// A point of edwards25519 in its 32 bytes (RFC 8032 section 5.1.2).
  case ed25519([UInt8])

  /// The curves of RFC 7518 section 6.2.1.1 that jotd signs on, by their names there.
  package enum Curve: String, CaseIterable, Sendable {
    case p256 = "P-256"
    case p384 = "P-384"

    /// Bytes of a coordinate, and of a private key.
    package var bytes: Int {
      switch self {
      case .p256: 32
      case .p384: 48
      }
    }
  }
}

// MARK: What it verifies

extension PublicKey {
  /// The algorithms for a key of this kind.
  package var algorithms: [Algorithm] {
    Algorithm.allCases.filter { $0.keyKind == kind }
  }

  /// What speaks against signing by `algorithm` with the key that it is of; nil when nothing does.
  package func fault(for algorithm: Algorithm) -> String? {
    guard algorithms.contains(algorithm) else {
      return "it is an \(kind), which \(algorithms.map(\.rawValue).joined(separator: " or ")) "
        + "takes: \(algorithm.rawValue) takes an \(algorithm.keyKind)"
    }
    if case .ed25519(let point) = self, PublicKey.isOfSmallOrder(point) {
      return "its point is of small order, under which many signatures are right"
    }
    guard case .rsa(let modulus, let exponent) = self else { return nil }
    let bits = modulus.count * 8 - (modulus.first?.leadingZeroBitCount ?? 0)
    guard Limits.rsaBits.contains(bits) else {
      return "it has \(bits) bits: \(Limits.rsaBits.lowerBound) (RFC 7518 section 3.3) to "
        + "\(Limits.rsaBits.upperBound) are allowed"
    }
    // Verifiers in the field take no larger one; an even one is none, and with 1, all is signed.
    let isSmall = exponent.count < 4 || exponent.count == 4 && exponent[0] < 0x80
    guard isSmall, exponent != [1], let last = exponent.last, last & 1 == 1 else {
      return "its public exponent is no odd number from 3 to 2147483647"
    }
    return nil
  }

  /// Whether a point of edwards25519 is one of those of order 1, 2, 4 and 8, however it is written:
  /// their y is 0, 1, -1 or one of two more, or one of the first three and the field's prime; the
  /// last bit is the sign of x (RFC 8032 section 5.1.2).
  private static func isOfSmallOrder(_ point: [UInt8]) -> Bool {
    let y = Array(point.dropLast()) + [point[31] & 0x7f]
    let isNearPrime = y[1..<31].allSatisfy { $0 == 0xff } && y[31] == 0x7f && y[0] >= 0xec
    let isNearZero = y[1...].allSatisfy { $0 == 0 } && y[0] <= 1
    return isNearPrime || isNearZero || ofOrderEight.contains(y)
  }

  private static let ofOrderEight: [[UInt8]] = [
    [
      0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0,
      0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
      0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39,
      0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
      0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f,
      0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
      0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6,
      0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
  ]

  private var kind: Algorithm.KeyKind {
    switch self {
    case .ec(let curve, _, _): .ec(curve)
    case .rsa: .rsa
    case .ed25519: .ed25519
    }
  }
}

// MARK: As a JWK

extension PublicKey {
  /// What RFC 7638 hashes to a thumbprint: the members that make the key, in the order of their
  /// names, without white space.
  package var thumbprintInput: [UInt8] { Array(JSON.object(members).text.utf8) }

  /// The JWK (RFC 7517 section 4) for a verifier of this algorithm.
  func jwk(_ algorithm: Algorithm, kid: String?) -> JSON {
    .object(
      members + [
        JSON.Member("use", .string("sig")), JSON.Member("alg", .string(algorithm.rawValue)),
      ] + [kid].compactMap(\.self).map { JSON.Member("kid", .string($0)) })
  }

  /// The members that RFC 7518 section 6 and RFC 8037 section 2 require, in the order of their
  /// names.
  private var members: [JSON.Member] {
    switch self {
    case .ec(let curve, let x, let y):
      [
        JSON.Member("crv", .string(curve.rawValue)), JSON.Member("kty", .string("EC")),
        JSON.Member("x", Base64URL.json(x)), JSON.Member("y", Base64URL.json(y)),
      ]
    case .rsa(let modulus, let exponent):
      [
        JSON.Member("e", Base64URL.json(exponent)), JSON.Member("kty", .string("RSA")),
        JSON.Member("n", Base64URL.json(modulus)),
      ]
    case .ed25519(let point):
      [
        JSON.Member("crv", .string("Ed25519")), JSON.Member("kty", .string("OKP")),
        JSON.Member("x", Base64URL.json(point)),
      ]
    }
  }

  /// The key that the public members of `jwk` make; throws what is wrong with them. Whether it is
  /// on its curve is not looked at.
  package init(jwk: JSON) throws(Failure) {
    switch jwk["kty"] {
    case .string("EC"):
      let names = Curve.allCases.map(\.rawValue).joined(separator: " or ")
      guard case .string(let name)? = jwk["crv"], let curve = Curve(rawValue: name) else {
        throw Failure("its crv is not \(names)")
      }
      self = .ec(
        curve, x: try PublicKey.bytes(jwk, "x", curve.bytes),
        y: try PublicKey.bytes(jwk, "y", curve.bytes))
    case .string("RSA"):
      self = .rsa(
        modulus: try PublicKey.bytes(jwk, "n"), exponent: try PublicKey.bytes(jwk, "e"))
    case .string("OKP"):
      guard case .string("Ed25519")? = jwk["crv"] else { throw Failure("its crv is not Ed25519") }
      self = .ed25519(try PublicKey.bytes(jwk, "x", 32))
    case .string("oct"):
      throw Failure("it is a secret (kty oct), which HS256, HS384 and HS512 take, encoded: base64")
    default: throw Failure("its kty is none of EC, RSA, OKP")
    }
  }

  /// Throws when `jwk` says that it is not for this operation on signatures, `sign` or `verify`
  /// (RFC 7517 sections 4.2 and 4.3).
  package static func demand(_ operation: String, of jwk: JSON) throws(Failure) {
    if let use = jwk["use"] {
      guard case .string("sig") = use else { throw Failure("its use is not sig") }
    }
    if let operations = jwk["key_ops"] {
      guard case .array(let names) = operations,
        names.contains(where: { if case .string(operation) = $0 { true } else { false } })
      else { throw Failure("its key_ops are without \(operation)") }
    }
  }

  /// The bytes of a member: `count` of them, or a number without zeros before it.
  private static func bytes(
    _ jwk: JSON, _ name: String, _ count: Int? = nil
  ) throws(Failure) -> [UInt8] {
    guard case .string(let text)? = jwk[name], let bytes = Base64URL.decode(Array(text.utf8)[...])
    else { throw Failure("its \(name) is missing, or not base64url") }
    guard bytes.count == count ?? bytes.count else {
      throw Failure("its \(name) has \(bytes.count) bytes, \(count!) are required")
    }
    guard count != nil || bytes.first ?? 0 != 0 else {
      throw Failure("its \(name) is empty, or begins with zeros")
    }
    return bytes
  }
}

extension Base64URL {
  fileprivate static func json(_ bytes: [UInt8]) -> JSON { .string(text(bytes)) }

  /// `bytes` in base64url.
  package static func text(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    append(bytes, to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}
