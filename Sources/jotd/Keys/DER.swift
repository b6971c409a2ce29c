import Rotation

/// What libcrypto reads a key from: DER (ITU-T X.690), as far as that takes.
indirect enum DER {
  /// A type's tag, and what it consists of.
  case node(UInt8, [DER])
  case integer(Part)
  case bytes(Part)

  enum Part {
    case secret(Secret)
    case open([UInt8])

    var count: Int {
      switch self {
      case .secret(let secret): secret.count
      case .open(let bytes): bytes.count
      }
    }

    func read<Result>(_ use: (Span<UInt8>) -> Result) -> Result {
      switch self {
      case .secret(let secret): secret.withSpan(use)
      case .open(let bytes): use(bytes.span)
      }
    }
  }

  private static let (integerTag, bitString, octetString): (UInt8, UInt8, UInt8) = (2, 3, 4)
  private static let sequence: UInt8 = 0x30

  /// The names of algorithms and curves: OBJECT IDENTIFIERs of RFC 5480 section 2.1, RFC 8017
  /// appendix C and RFC 8410 section 3.
  private static let ofEC: [UInt8] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]
  private static let ofRSA: [UInt8] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
  ]
  private static let ofEd25519: [UInt8] = [0x06, 0x03, 0x2b, 0x65, 0x70]

  private static func name(of curve: PublicKey.Curve) -> [UInt8] {
    switch curve {
    case .p256: [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]
    case .p384: [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22]
    }
  }

  /// An uncompressed point (SEC 1 section 2.3.3) in a BIT STRING.
  private static func point(_ x: [UInt8], _ y: [UInt8]) -> DER {
    .node(bitString, [.bytes(.open([0x00, 0x04] + x + y))])
  }

  /// ECPrivateKey (RFC 5915 section 3).
  static func key(
    on curve: PublicKey.Curve, _ number: Part, _ x: [UInt8], _ y: [UInt8]
  ) -> DER {
    .node(
      sequence,
      [
        .integer(.open([1])), .node(octetString, [.bytes(number)]),
        .node(0xa0, [.bytes(.open(name(of: curve)))]), .node(0xa1, [point(x, y)]),
      ])
  }

  /// RSAPrivateKey (RFC 8017 appendix A.1.2), of the modulus and what follows it.
  static func rsaKey(_ numbers: [Part]) -> DER {
    .node(sequence, [.integer(.open([0]))] + numbers.map(DER.integer))
  }

  /// OneAsymmetricKey with a CurvePrivateKey (RFC 8410 section 7).
  static func ed25519Key(_ seed: Part) -> DER {
    .node(
      sequence,
      [
        .integer(.open([0])), .node(sequence, [.bytes(.open(ofEd25519))]),
        .node(octetString, [.node(octetString, [.bytes(seed)])]),
      ])
  }

  /// SubjectPublicKeyInfo (RFC 5280 section 4.1).
  static func publicKey(_ key: PublicKey) -> DER {
    let (algorithm, bits): ([UInt8], DER) =
      switch key {
      case .ec(let curve, let x, let y): (ofEC + name(of: curve), point(x, y))
      case .rsa(let modulus, let exponent):
        (
          ofRSA + [0x05, 0x00],
          .node(
            bitString,
            [
              .bytes(.open([0x00])),
              .node(sequence, [.integer(.open(modulus)), .integer(.open(exponent))]),
            ])
        )
      case .ed25519(let point):
        (ofEd25519, .node(bitString, [.bytes(.open([0x00] + point))]))
      }
    return .node(sequence, [.node(sequence, [.bytes(.open(algorithm))]), bits])
  }

  /// Bytes with tag and length.
  var count: Int {
    let content = contentCount
    if case .bytes = self { return content }
    return content + (content < 0x80 ? 2 : content < 0x100 ? 3 : 4)
  }

  private var contentCount: Int {
    switch self {
    case .node(_, let parts): parts.reduce(0) { $0 + $1.count }
    case .bytes(let part): part.count
    case .integer(let part):
      // Zeros before a number are left out; one is put before what would be negative.
      part.read { bytes in
        let first = bytes.indices.first { bytes[$0] != 0 } ?? bytes.count
        let isNegative = first < bytes.count && bytes[first] >= 0x80
        return max(1, bytes.count - first + (isNegative ? 1 : 0))
      }
    }
  }

  /// Appends it; there must be room for `count` bytes.
  func append(to output: inout OutputSpan<UInt8>) {
    switch self {
    case .bytes(let part): DER.append(part, 0, to: &output)
    case .node(let tag, let parts):
      appendHeader(tag, to: &output)
      for part in parts { part.append(to: &output) }
    case .integer(let part):
      appendHeader(DER.integerTag, to: &output)
      let skipped = part.count - contentCount
      if skipped < 0 { output.append(0) }
      DER.append(part, max(0, skipped), to: &output)
    }
  }

  private func appendHeader(_ tag: UInt8, to output: inout OutputSpan<UInt8>) {
    let content = contentCount
    output.append(tag)
    switch content {
    case ..<0x80: output.append(UInt8(content))
    case ..<0x100:
      output.append(0x81)
      output.append(UInt8(content))
    default:
      output.append(0x82)
      output.append(UInt8(content >> 8))
      output.append(UInt8(content & 0xff))
    }
  }

  private static func append(_ part: Part, _ from: Int, to output: inout OutputSpan<UInt8>) {
    switch part {
    case .open(let bytes): for byte in bytes.dropFirst(from) { output.append(byte) }
    case .secret(let secret):
      secret.withSpan { bytes in
        for index in from..<bytes.count { output.append(bytes[index]) }
      }
    }
  }
}
