import Dispatch
import Rotation
import Synchronization

/// Asks devices for the keys that stay there, all at once and for a bounded time: at a start and a
/// reload nobody waits long for one.
struct DeviceInspection {
  private typealias Opened = Result<any Signer, DeviceFault>

  /// What was found of each key, by its name.
  private let found: [String: Opened]
  /// How long they were waited for.
  private let time: Duration

  /// Opens those of `settings`. Those of one device are opened one after the other: it may serve
  /// one program at a time, and what it refuses once is not tried for the next.
  init(_ settings: Settings, _ depth: Preflight.Depth) {
    var devices: [String: [(KeyURI, SecretSettings, KeySettings)]] = [:]
    for key in settings.keys.map(\.settings) {
      guard let secret = key.secret, case .uri(let uri) = secret.source else { continue }
      if depth == .check, SecretLoader.isOutOfReach(secret) { continue }
      devices[uri.device, default: []].append((uri, secret, key))
    }
    let opened = Answers()
    let all = DispatchGroup()
    for keys in devices.values {
      Threads.run(in: all) {
        for (uri, secret, key) in keys {
          let answer = Opened { () throws(DeviceFault) in
            try SecretLoader(key: key).deviceSigner(uri, secret)
          }
          opened.byName.withLock { $0[key.label.name] = answer }
        }
      }
    }
    time = depth == .check ? Limits.devicePatience * 2 : Limits.devicesAtStart
    _ = all.wait(timeout: .now() + time.interval)
    found = opened.byName.withLock(\.self)
  }

  private final class Answers: Sendable {
    let byName = Mutex<[String: Opened]>([:])
  }

  /// The key at `uri`, or why it cannot be had.
  func signer(of key: KeySettings, at uri: KeyURI) -> Result<any Signer, DeviceFault> {
    let silence = Failure("it has not answered within \(time.timeSpan), for all keys together")
    return found[key.label.name] ?? .failure(.unreachable(silence.about(uri)))
  }
}
