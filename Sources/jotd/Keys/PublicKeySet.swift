import Rotation

/// The keys of a JWK Set (RFC 7517 section 5) that tokens can be verified with.
struct PublicKeySet {
  /// At least one; a key that names no algorithm is there for each that it fits.
  let verifiers: [PublicKeyVerifier]

  /// Reads `text`. As section 5 says, keys of unknown kinds, with other uses, or that are otherwise
  /// not usable are passed over; throws what is wrong when none is left.
  init(parsing text: [UInt8]) throws(Failure) {
    let set: JSON
    do throws(Failure) { set = try JSON(parsing: text) } catch {
      throw Failure("it is no acceptable JSON: \(error)")
    }
    guard case .array(let jwks)? = set["keys"] else {
      throw Failure("it is no JWK Set: it has no array of keys (RFC 7517 section 5)")
    }
    guard jwks.count <= Limits.publishedKeys else {
      throw Failure("it has \(jwks.count) keys: \(Limits.publishedKeys) are allowed")
    }
    var verifiers: [PublicKeyVerifier] = []
    var fault: Failure?
    for jwk in jwks {
      do throws(Failure) { verifiers += try PublicKeySet.verifiers(jwk) } catch {
        fault = fault ?? error
      }
    }
    guard !verifiers.isEmpty else {
      throw Failure(
        "it has no key that verifies tokens"
          + (fault.map { "; of the first that has not: \($0)" } ?? ""))
    }
    self.verifiers = verifiers
  }

  private static func verifiers(_ jwk: JSON) throws(Failure) -> [PublicKeyVerifier] {
    try PublicKey.demand("verify", of: jwk)
    let key = try PublicKey(jwk: jwk)
    let kid: String? = if case .string(let name)? = jwk["kid"] { name } else { nil }
    guard let named = jwk["alg"] else {
      return try key.algorithms.map { algorithm throws(Failure) in
        try PublicKeyVerifier(key, algorithm, kid: kid)
      }
    }
    guard case .string(let name) = named, let algorithm = Algorithm(rawValue: name) else {
      throw Failure("its alg is none that is known here")
    }
    return [try PublicKeyVerifier(key, algorithm, kid: kid)]
  }
}
