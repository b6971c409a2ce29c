import Rotation
import Synchronization

/// The passphrases that devices have refused, so that none is tried again: a few wrong ones lock a
/// device for good.
enum PassphraseRefusals {
  private struct Refused {
    let passphrase: Secret?
    let failure: Failure
  }

  private static let refused = Mutex<[KeyURI: Refused]>([:])

  /// Throws when the device at `uri` has refused `passphrase`.
  static func check(_ uri: KeyURI, _ passphrase: Secret?) throws(Failure) {
    guard let last = refused.withLock({ $0[uri] }) else { return }
    let isSame =
      if let passphrase, let former = last.passphrase {
        passphrase.isSame(as: former)
      } else { passphrase == nil && last.passphrase == nil }
    if isSame { throw last.failure }
  }

  /// It has, for this reason. Gives what is to be said of it.
  static func note(_ uri: KeyURI, _ passphrase: Secret?, _ failure: Failure) -> Failure {
    let told = Failure(
      "the device refuses the \(passphrase == nil ? "PIN" : "passphrase") (\(failure)). It is not "
        + "tried again, because a few wrong ones lock a device: correct it")
    refused.withLock { $0[uri] = Refused(passphrase: passphrase, failure: told) }
    return told
  }
}
