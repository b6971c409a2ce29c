@testable import Rotation

/// The keys of a simulated host: three names, and a signer of another number whenever one changes;
/// those of odd numbers are randomised and slow. The last is in a device.
struct SimulatedKeys {
  static let names = [Key.standardName, "yard", device]
  static let device = "vault"

  private var signers = (0..<3).map { signer($0, of: $0) }
  private var numbers = [0, 1, 2]
  private var changes = [0, 0, 0]
  /// Whether the device is not to be found, so that nobody knows its key.
  var isDeviceAbsent = false
  /// The names of the keys whose JWK Set is published.
  var published: Set<String> = []

  private static func signer(_ number: Int, of index: Int) -> SimulatedSigner {
    SimulatedSigner(number, isRandomised: number % 2 == 1, isRemote: names[index] == device)
  }

  /// What signs for this name now.
  subscript(name: String) -> SimulatedSigner { signers[SimulatedKeys.names.firstIndex(of: name)!] }

  /// The same, but never broken: for whoever judges.
  func working(_ name: String) -> SimulatedSigner {
    let index = SimulatedKeys.names.firstIndex(of: name)!
    return SimulatedKeys.signer(numbers[index], of: index)
  }

  /// Changes the key of this name.
  mutating func change(_ name: String) {
    let index = SimulatedKeys.names.firstIndex(of: name)!
    numbers[index] = numbers.max()! + 1
    changes[index] += 1
    // Only what signs now is ever broken.
    signers[index].isBroken = false
    signers[index] = SimulatedKeys.signer(numbers[index], of: index)
  }

  /// How often the key of this name has changed since it was as in `former`.
  func changes(of name: String, since former: SimulatedKeys) -> Int {
    let index = SimulatedKeys.names.firstIndex(of: name)!
    return changes[index] - former.changes[index]
  }

  func setBroken(_ isBroken: Bool) { for signer in signers { signer.isBroken = isBroken } }

  var keys: Keys {
    Keys(
      zip(SimulatedKeys.names, signers).map { name, signer in
        Key(
          name: name,
          source: name == SimulatedKeys.device && isDeviceAbsent
            ? .failure(Failure("the device is not there")) : .success(signer),
          publication: publication(name))
      })
  }

  /// Where the JWK Set of a key is; nil for nowhere.
  func publication(_ name: String) -> Publication? {
    guard published.contains(name) else { return nil }
    let file = FileDelivery(
      path: SimulatedKeys.path(ofSet: name), format: .jwks, owner: nil, group: nil, mode: 0o644,
      inPlace: false)
    return Publication(key: name, files: [file], hooks: [])
  }

  static func path(ofSet name: String) -> Path { Path("/jwks/\(name)") }
}
