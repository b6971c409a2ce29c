import Rotation

/// Why a key in a device cannot be had.
enum DeviceFault: Error {
  /// The device did not answer, or not with a key. It may yet.
  case unreachable(Failure)
  /// It has another kind of key than is configured, or what opens it cannot be read.
  case unfit(Failure)

  var failure: Failure {
    switch self {
    case .unreachable(let failure), .unfit(let failure): failure
    }
  }
}

extension Failure {
  /// The same, said of the key at `uri`.
  func about(_ uri: KeyURI) -> Failure {
    Failure("\(SecretSource.uri(uri).named("private key")): \(self)", code: code)
  }
}
