import Testing

@testable import Rotation

/// Public keys as JWKs: the examples of RFC 7517 appendix A.1, RFC 7638 and RFC 8037 appendix A.
@Suite struct PublicKeyTests {
  private static let n =
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP"
    + "ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Qvzqy"
    + "368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f"
    + "M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
  private static let x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
  private static let y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
  private static let point = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

  private static let rsa = #"{"kty":"RSA","n":"\#(n)","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#
  private static let ec = #"{"kty":"EC","crv":"P-256","x":"\#(x)","y":"\#(y)","use":"enc"}"#
  private static let okp = #"{"kty":"OKP","crv":"Ed25519","x":"\#(point)"}"#

  private func key(_ jwk: String) throws(Failure) -> PublicKey {
    try PublicKey(jwk: JSON(parsing: Array(jwk.utf8)))
  }

  @Test func aThumbprintIsOfTheMembersThatMakeTheKey() throws {
    let inputs = [
      PublicKeyTests.rsa: #"{"e":"AQAB","kty":"RSA","n":"\#(PublicKeyTests.n)"}"#,
      PublicKeyTests.ec:
        #"{"crv":"P-256","kty":"EC","x":"\#(PublicKeyTests.x)","y":"\#(PublicKeyTests.y)"}"#,
      PublicKeyTests.okp: #"{"crv":"Ed25519","kty":"OKP","x":"\#(PublicKeyTests.point)"}"#,
    ]
    for (jwk, input) in inputs {
      #expect(String(decoding: try key(jwk).thumbprintInput, as: UTF8.self) == input)
    }
  }

  @Test func aKeyIsForTheAlgorithmsOfItsKind() throws {
    let fitting: [String: [Algorithm]] = [
      PublicKeyTests.rsa: [.rs256, .ps256], PublicKeyTests.ec: [.es256],
      PublicKeyTests.okp: [.edDSA, .ed25519],
    ]
    for (jwk, algorithms) in fitting {
      let key = try key(jwk)
      #expect(Algorithm.allCases.filter { key.fault(for: $0) == nil } == algorithms)
    }
  }

  @Test(arguments: [
    (2040, [1, 0, 1], false), (2048, [1, 0, 1], true), (4096, [3], true), (4104, [3], false),
    (2048, [1], false), (2048, [2], false), (2048, [0x7f, 0xff, 0xff, 0xff], true),
    (2048, [0x80, 0, 0, 1], false), (2048, [1, 0, 0, 0, 1], false),
  ])
  func anRSAKeyHasUsualNumbers(_ bits: Int, _ exponent: [UInt8], _ isUsual: Bool) {
    let modulus = [UInt8](repeating: 0xff, count: bits / 8)
    let key = PublicKey.rsa(modulus: modulus, exponent: exponent)
    #expect((key.fault(for: .rs256) == nil) == isUsual)
    // One bit fewer.
    let shorter = PublicKey.rsa(modulus: [0x7f] + modulus.dropFirst(), exponent: exponent)
    #expect((shorter.fault(for: .ps256) == nil) == (isUsual && bits > 2048))
  }

  @Test func whatIsNoKeyIsRefused() {
    for (old, new) in [
      ("\"EC\"", "\"oct\""), ("\"EC\"", "7"), ("P-256", "P-384"), ("P-256", "secp256k1"),
      ("MKBC", "MKB"), ("MKBC", "MKBC="), ("MKBC", "MKBCAAAA"), ("\"y\"", "\"z\""),
    ] {
      let jwk = PublicKeyTests.ec.replacing(old, with: new)
      #expect(jwk != PublicKeyTests.ec)
      #expect(throws: Failure.self) { try key(jwk) }
    }
    for (old, new) in [
      ("\"AQAB\"", "\"\""), ("\"AQAB\"", "\"AAEAAQ\""), ("\"AQAB\"", "65537"),
      ("\"0vx7", "\"AAAA0vx7"), ("\"n\"", "\"N\""),
    ] {
      let jwk = PublicKeyTests.rsa.replacing(old, with: new)
      #expect(jwk != PublicKeyTests.rsa)
      #expect(throws: Failure.self) { try key(jwk) }
    }
    for (old, new) in [("Ed25519", "Ed448"), ("Ed25519", "X25519"), ("11qY", "11qYAAAA")] {
      #expect(throws: Failure.self) { try key(PublicKeyTests.okp.replacing(old, with: new)) }
    }
  }
}
