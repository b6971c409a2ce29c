import CLinux
import Glibc
import NIOCore
import Rotation

/// Who is at the other end of a Unix socket, as the kernel knows it.
struct Peer: Sendable {
  let pid: Int32
  let user: UInt32
  /// The primary group and the supplementary ones.
  let groups: Set<UInt32>
  /// The systemd unit of its process; nil when it has none, or when that cannot be known for sure.
  let unit: String?
}

extension Peer {
  /// Asks the kernel about the peer of a connected socket.
  init(of socket: Int32) throws(Failure) {
    var found = linux_peer()
    try result { unsafe linux_ask_peer(socket, &found) }
    var groups = [UInt32](repeating: 0, count: 256)
    var count = unsafe linux_peer_groups(socket, &groups, Int32(groups.count))
    if count < 0, errno == ERANGE {
      groups = [UInt32](repeating: 0, count: 65_536)
      count = unsafe linux_peer_groups(socket, &groups, Int32(groups.count))
    }
    pid = found.pid
    user = found.uid
    self.groups = Set(groups.prefix(Int(max(0, count)))).union([found.gid])
    unit = Peer.unit(of: found.pid, pidfd: found.pidfd)
  }

  /// The peer of a connection, asked on its event loop; nil when the kernel does not tell.
  init?(of channel: any Channel) {
    let found = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
      of: NIOBSDSocket.Handle.self
    ) { try Peer(of: $0) }
    guard let peer = found ?? nil else { return nil }
    self = peer
  }

  /// The user alone, which costs little; nil when the kernel does not tell.
  static func user(of socket: Int32) -> UInt32? {
    var user: UInt32 = 0
    return unsafe linux_peer_user(socket, &user) < 0 ? nil : user
  }

  /// Whether the kernel gives a handle of the process at the other end (SO_PEERPIDFD, Linux 6.5),
  /// without which no caller is known by its unit.
  static let isUnitKnown = linux_tells_peer_process()

  /// The unit by the process's control group. The answer counts only if the process lived until
  /// after it was given: its number cannot have gone to another by then. Without a pidfd, nothing
  /// shows that.
  private static func unit(of pid: Int32, pidfd: Int32) -> String? {
    guard pidfd >= 0 else { return nil }
    let handle = Descriptor(owning: pidfd)
    guard let bytes = try? FileSystem.contents(of: "/proc/\(pid)/cgroup", upTo: 16 << 10),
      linux_is_alive(handle.number) == 1
    else { return nil }
    return unit(inControlGroups: bytes)
  }

  /// The unit in the text of a /proc/PID/cgroup (cgroups(7)): the first name on the path of
  /// systemd's hierarchy that is no slice. What units make below themselves comes after it.
  static func unit(inControlGroups text: [UInt8]) -> String? {
    let lines = text.split(separator: 0x0a).map { line in
      line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
    }
    // The unified hierarchy, and for hosts that have both, or none, systemd's own.
    let unified = lines.first {
      $0.count == 3 && $0[0].elementsEqual("0".utf8) && $0[1].isEmpty
    }
    let legacy = lines.first { $0.count == 3 && $0[1].elementsEqual("name=systemd".utf8) }
    return [unified, legacy].lazy.compactMap { $0.flatMap { unit(onPath: $0[2]) } }.first
  }

  private static func unit(onPath path: ArraySlice<UInt8>) -> String? {
    let names = path.split(separator: UInt8(ascii: "/"))
    guard !names.contains(where: { $0.elementsEqual("..".utf8) }),
      let name = names.first(where: { !$0.ends(with: ".slice") })
    else { return nil }
    // A leading underscore protects names that control groups have a use for.
    let unit = UnitName.read(name.first == UInt8(ascii: "_") ? name.dropFirst() : name)
    return unit.flatMap { UnitName.hasProcesses($0) ? $0 : nil }
  }
}
