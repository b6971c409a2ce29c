import CLinux
import Rotation

/// Who asks on the credential socket: systemd, for one unit and one credential.
///
/// The address that systemd binds before it connects is `\0HEX/unit/UNIT/ID`, abstract, where HEX
/// is random (systemd.exec(5), LoadCredential=). That nobody else has such an address is not
/// promised by it alone: the peer has to be root, too.
struct CredentialAddress: Equatable {
  let unit: String
  let credential: String

  /// Reads the name of a peer's address, with the zero byte that begins it; nil for any other.
  init?(_ name: [UInt8]) {
    guard name.first == 0 else { return nil }
    let parts = name.dropFirst().split(
      separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard parts.count == 4, (1...16).contains(parts[0].count),
      parts[0].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
      parts[1].elementsEqual("unit".utf8), let unit = UnitName.read(parts[2])
    else { return nil }
    self.unit = unit
    credential = String(decoding: parts[3], as: UTF8.self)
    guard Identity.fault(inName: credential) == nil else { return nil }
  }

  /// That of the peer of a connected socket.
  init?(of socket: Int32) {
    var name = [CChar](repeating: 0, count: 128)
    let length = unsafe linux_peer_address(socket, &name, Int32(name.count))
    guard length > 0 else { return nil }
    self.init(name.prefix(Int(length)).map { UInt8(bitPattern: $0) })
  }
}
