import Rotation
import Testing

@testable import jotd

/// Private keys as JWKs and the signatures that they make: the examples of RFC 7515 appendices A.2
/// and A.3, and RFC 8037 appendix A.
@Suite struct PrivateKeyTests {
  // MARK: RFC 7515 appendix A.2

  private static let rsaMembers = [
    "kty": "RSA", "e": "AQAB",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEz"
      + "P1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf6"
      + "3kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw"
      + "Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
      + "yuXpoQ",
    "d": "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7Y"
      + "wVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3M"
      + "kqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1Zd"
      + "iYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRu"
      + "OopznQ",
    "p": "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB"
      + "0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDw"
      + "GUc",
    "q": "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul"
      + "7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9R"
      + "Wdc",
    "dp": "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz"
      + "-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAd"
      + "Yo0",
    "dq": "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3"
      + "Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIi"
      + "THU",
    "qi": "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3"
      + "ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFku"
      + "Q3U",
  ]
  private static let joe =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
    + "fQ"
  private static let signedByRSA =
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt"
    + "_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL"
    + "IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no"
    + "OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
    + "Ge77Rw"

  @Test func rsaSignsAsInRFC7515() throws {
    let signer = try signer(PrivateKeyTests.rsaMembers, .rs256)
    let message = Array("eyJhbGciOiJSUzI1NiJ9.\(PrivateKeyTests.joe)".utf8)
    var signature: [UInt8] = []
    try signer.sign(message, into: &signature)
    #expect(Base64URL.text(signature) == PrivateKeyTests.signedByRSA)
    #expect(try signer.verifies(signature, of: message))
    #expect(signer.signatureBytes == 256)
    // The same key under the other algorithm is another signer.
    let other = try self.signer(PrivateKeyTests.rsaMembers, .ps256)
    #expect(!(try other.verifies(signature, of: message)) && other.keyID != signer.keyID)
  }

  // MARK: RFC 7515 appendix A.3

  private static let ecMembers = [
    "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
  ]
  private static let signedByEC =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

  @Test func ecdsaVerifiesAsInRFC7515AndNothingElse() throws {
    let signer = try signer(PrivateKeyTests.ecMembers, .es256)
    let message = Array("eyJhbGciOiJFUzI1NiJ9.\(PrivateKeyTests.joe)".utf8)
    let right = try #require(Base64URL.decode(Array(PrivateKeyTests.signedByEC.utf8)[...]))
    #expect(try signer.verifies(right, of: message))
    var own: [UInt8] = []
    var again: [UInt8] = []
    try signer.sign(message, into: &own)
    try signer.sign(message, into: &again)
    #expect(own.count == 64 && own != again)
    #expect(try signer.verifies(own, of: message) && signer.verifies(again, of: message))
    let (r, s) = (Array(right[..<32]), Array(right[32...]))
    let zero = [UInt8](repeating: 0, count: 32)
    // The order of the curve (FIPS 186-4 section D.1.2.3), and one less and more than it.
    let order: [UInt8] = [
      0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
      0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
      0x25, 0x51,
    ]
    let most = [UInt8](repeating: 0xff, count: 32)
    for wrong in [
      [], r, right + [0], [0] + right, Array(right.dropLast()), Array(right.dropFirst()),
      zero + s, r + zero, zero + zero, order + s, r + order, order + order, most + most,
      order.dropLast() + [0x50] + s, order.dropLast() + [0x52] + s, s + r,
      // DER, as libcrypto has it.
      [0x30, 0x45, 0x02, 0x20] + r + [0x02, 0x21, 0x00] + s,
    ] {
      #expect(!(try signer.verifies(Array(wrong), of: message)))
    }
    #expect(!(try signer.verifies(right, of: message + [0x2e])))
  }

  // MARK: RFC 8037 appendix A

  private static let okpMembers = [
    "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
  ]
  private static let signedByEd25519 =
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

  @Test func ed25519SignsAsInRFC8037() throws {
    let message = Array("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".utf8)
    for algorithm in [Algorithm.edDSA, .ed25519] {
      let signer = try signer(PrivateKeyTests.okpMembers, algorithm)
      #expect(signer.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "its thumbprint")
      var signature: [UInt8] = []
      try signer.sign(message, into: &signature)
      #expect(Base64URL.text(signature) == PrivateKeyTests.signedByEd25519)
      #expect(try signer.verifies(signature, of: message))
      // RFC 8032 section 5.1.7: a second half that is not below the order is none, or there would
      // be two signatures of one message.
      var more = signature
      let order: [UInt8] =
        [
          0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
          0x14,
        ] + [UInt8](repeating: 0, count: 15) + [0x10]
      var carry = 0
      for index in 0..<32 {
        let sum = Int(more[32 + index]) + Int(order[index]) + carry
        more[32 + index] = UInt8(sum & 0xff)
        carry = sum >> 8
      }
      #expect(!(try signer.verifies(more, of: message)))
      #expect(!(try signer.verifies(signature.dropLast(), of: message)))
    }
  }

  // MARK: What is no key

  @Test(arguments: ["d", "x", "y"]) func oneBitOfAnECKeyIsMissed(_ name: String) {
    var members = PrivateKeyTests.ecMembers
    members[name] = (members[name]!.first == "A" ? "B" : "A") + members[name]!.dropFirst()
    #expect(throws: Failure.self) { try signer(members, .es256) }
  }

  @Test func eachPartOfAPrivateKeyIsNeeded() {
    for (members, algorithm) in [
      (PrivateKeyTests.rsaMembers, Algorithm.rs256), (PrivateKeyTests.ecMembers, .es256),
      (PrivateKeyTests.okpMembers, .edDSA),
    ] {
      for name in members.keys {
        var less = members
        less[name] = nil
        #expect(throws: Failure.self, "\(name)") { try signer(less, algorithm) }
        for wrong in ["", "A", "AAAA", "+/==", members[name]! + "AAAA", members[name]! + "="] {
          less[name] = wrong
          #expect(throws: Failure.self, "\(name) \(wrong.count) \(wrong.suffix(2)) \(algorithm)") {
            try signer(less, algorithm)
          }
        }
      }
    }
  }

  @Test func whatTheKeySaysOfItselfHolds() throws {
    let fine: [[String: String]] = [
      ["use": "sig"], ["alg": "ES256"], ["kid": "mine"], ["x5t": "whatever", "other": "d"],
    ]
    for more in fine { _ = try signer(more.merging(PrivateKeyTests.ecMembers) { $1 }, .es256) }
    let wrong: [[String: String]] = [
      ["use": "enc"], ["alg": "ES384"], ["alg": "HS256"], ["kid": ""], ["kid": "../../etc/passwd"],
      ["key_ops": "sign"], ["keys": "none"],
    ]
    for more in wrong {
      #expect(throws: Failure.self, "\(more)") {
        try self.signer(more.merging(PrivateKeyTests.ecMembers) { $1 }, .es256)
      }
    }
    let named = try self.signer(PrivateKeyTests.ecMembers.merging(["kid": "mine"]) { $1 }, .es256)
    #expect(named.kid == "mine")
    // Both names of one algorithm.
    for algorithm in [Algorithm.edDSA, .ed25519] {
      for name in ["EdDSA", "Ed25519"] {
        let members = PrivateKeyTests.okpMembers.merging(["alg": name]) { $1 }
        #expect(try self.signer(members, algorithm).algorithm == algorithm)
      }
    }
    for rest in [#""key_ops":["sign","verify"]"#, #""ext":true,"n":{"d":["x"]}"#] {
      _ = try self.signer("{\(rest),\(text(PrivateKeyTests.ecMembers).dropFirst())", .es256)
    }
    for rest in [
      #""key_ops":["verify"]"#, #""d":"AAAA""#, #""oth":[{"r":"AA","d":"AA","t":"AA"}]"#, "",
      #""\u0064":"AAAA""#,
    ] {
      let members = rest.contains("oth") ? PrivateKeyTests.rsaMembers : PrivateKeyTests.ecMembers
      #expect(throws: Failure.self, "\(rest)") {
        try self.signer(
          "{\(rest),\(text(members).dropFirst())", rest.contains("oth") ? .rs256 : .es256)
      }
    }
  }

  // MARK: Helpers

  private func text(_ members: [String: String]) -> String {
    JSON.object(members.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .string($0.value)) })
      .text
  }

  private func signer(
    _ members: [String: String], _ algorithm: Algorithm
  ) throws(Failure) -> PrivateKeySigner {
    try signer(text(members), algorithm)
  }

  /// What the loader makes of a JWK.
  private func signer(_ jwk: String, _ algorithm: Algorithm) throws(Failure) -> PrivateKeySigner {
    let text = try Secret(capacity: jwk.utf8.count) { output in
      for byte in jwk.utf8 { output.append(byte) }
    }
    return try PrivateKeySigner(reading: text, algorithm)
  }
}
