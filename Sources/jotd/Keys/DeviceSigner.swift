import Dispatch
import Rotation
import Synchronization

/// Signs with a private key that stays in a device, by a helper process. One signature at a time;
/// each takes a bounded time: that of opening the key, behind others of the device, and of signing.
final class DeviceSigner: Signer {
  let algorithm: Algorithm
  let kid: String?
  let keyID: KeyID
  let publicKey: PublicKey?
  let isRemote = true
  var signatureBytes: Int { verifier.signatureBytes }

  private let verifier: PublicKeyVerifier
  private let uri: KeyURI
  /// As the configuration says it.
  private let configuredKid: String?
  private let passphrase: Secret?
  /// As a helper says it, to know when it is another.
  private let encodedKey: [UInt8]
  private let state: Mutex<State>

  private struct State {
    var process: DeviceProcess?
    /// Counts signatures: a helper that made none since is let go.
    var uses = 0
  }

  /// Asks the device for the key at `uri`, and whether it signs by `algorithm`. `kid` is what its
  /// tokens name it, nil for its thumbprint (RFC 7638).
  init(
    _ uri: KeyURI, _ algorithm: Algorithm, kid: String?, passphrase: Secret?
  ) throws(DeviceFault) {
    let process: DeviceProcess
    do throws(Failure) { process = try DeviceSigner.open(uri, algorithm, passphrase) } catch {
      throw .unreachable(error.about(uri))
    }
    do throws(Failure) {
      let key = try OpenSSLKey(subjectPublicKeyInfo: process.publicKey).publicKey
      if let fault = key.fault(for: algorithm) { throw Failure(fault) }
      (self.kid, keyID) = try key.names(for: algorithm, kid: kid)
      publicKey = key
      verifier = try PublicKeyVerifier(key, algorithm, kid: self.kid)
    } catch { throw .unfit(error.about(uri)) }
    self.algorithm = algorithm
    self.uri = uri
    configuredKid = kid
    self.passphrase = passphrase
    encodedKey = process.publicKey
    state = Mutex(State(process: process))
    var signature: [UInt8] = []
    do throws(Failure) { try sign(Array("jotd key id".utf8), into: &signature) } catch {
      throw .unreachable(error)
    }
    // The next key of the device may be asked for.
    state.withLock { $0.process = nil }
  }

  /// That of `KeyURI`.
  var device: String { uri.device }

  /// Whether `key` asks for the same, however it is opened.
  func isAsked(forBy key: KeySettings) -> Bool {
    guard case .uri(uri)? = key.secret?.source else { return false }
    return key.label.algorithm == algorithm && key.label.kid == configuredKid
  }

  func verifies(_ signature: [UInt8], of message: [UInt8]) throws(Failure) -> Bool {
    try verifier.verifies(signature, of: message)
  }

  func sign(_ message: [UInt8], into signature: inout [UInt8]) throws(Failure) {
    // The helper takes no more, and a token has none.
    guard message.count <= Limits.tokenBytes else {
      throw Failure("a token is not longer than \(Limits.tokenBytes) bytes: leave claims out")
    }
    signature = try state.withLock { state throws(Failure) in
      do throws(Failure) {
        let made = try make(message, &state)
        // A device that is broken, or another in its place, is found out here and not at a gate.
        guard try verifier.verifies(made, of: message) else {
          throw Failure("the device made a signature that is wrong")
        }
        state.uses += 1
        letGo(after: state.uses)
        return made
      } catch {
        state.process = nil
        throw error.about(uri)
      }
    }
  }

  private func make(_ message: [UInt8], _ state: inout State) throws(Failure) -> [UInt8] {
    do throws(DeviceProcess.Fault) {
      if let made = try state.process?.sign(message) { return made }
    } catch {
      // What it had open may be of no more use, or it may have ended long ago: another is asked.
      guard case .gone = error else { throw failure(error) }
    }
    state.process = nil
    let process = try DeviceSigner.open(uri, algorithm, passphrase)
    guard process.publicKey == encodedKey else {
      throw Failure("another key is there than before")
    }
    state.process = process
    do throws(DeviceProcess.Fault) { return try process.sign(message) } catch {
      throw failure(error)
    }
  }

  private static func open(
    _ uri: KeyURI, _ algorithm: Algorithm, _ passphrase: Secret?
  ) throws(Failure) -> DeviceProcess {
    let opening = DeviceMessage.Opening(algorithm, uri, hasPassphrase: passphrase != nil)
    return try DeviceRecords.opening(uri, passphrase) { () throws(Failure) in
      do throws(DeviceProcess.Fault) { return try DeviceProcess(opening, passphrase) } catch {
        throw failure(error, uri, passphrase)
      }
    }
  }

  private func failure(_ fault: DeviceProcess.Fault) -> Failure {
    DeviceSigner.failure(fault, uri, passphrase)
  }

  /// What is to be said of it, and remembered of the device.
  private static func failure(
    _ fault: DeviceProcess.Fault, _ uri: KeyURI, _ passphrase: Secret?
  ) -> Failure {
    switch fault {
    case .passphrase(let words):
      return DeviceRecords.note(refused: passphrase, uri, words)
    case .unanswered(let failure, let immortal):
      DeviceRecords.note(unanswered: failure, uri, immortal: immortal)
      return failure
    case .gone(let failure): return failure
    }
  }

  /// Lets the helper go when nothing was signed since: while it lives, a device may serve nobody
  /// else. Who signs just then does that later.
  private func letGo(after uses: Int) {
    let deadline = DispatchTime.now() + Limits.deviceLinger.interval
    DeviceProcess.queue.asyncAfter(deadline: deadline) { [weak self] in
      _ = self?.state.withLockIfAvailable { state in
        if state.uses == uses { state.process = nil }
      }
    }
  }
}
