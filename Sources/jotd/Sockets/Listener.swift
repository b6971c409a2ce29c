import CLinux
import Glibc
import NIOCore
import Rotation

/// A listening Unix socket at a path: bound where nobody answers, with its group and mode before
/// it listens, gone with its listener.
final class Listener: Sendable {
  let path: Path
  private let acceptor: Acceptor
  /// Where the socket was made, and its inode then; nil for one that systemd handed over.
  private let made: (folder: Folder, status: FileStatus)?
  /// The name that systemd knows it by.
  private let name: String

  /// Uses the socket that systemd handed over for `path` or under `name`, and makes one at `path`
  /// otherwise. Callers can connect from then on, and wait until `begin`. Must not be called on the
  /// event loop, nor on the main queue: a disk can hang. `accept` gets each new connection, on the
  /// event loop, with its peer's user, nil when the kernel does not tell; it adds handlers, or
  /// throws to have it closed.
  init(
    _ path: Path, owner: UInt32?, group: UInt32?, mode: UInt16, handedOver name: String,
    accept: @escaping @Sendable (any Channel, UInt32?) throws -> Void
  ) throws(Failure) {
    self.path = path
    self.name = name
    let socket: Descriptor
    if let given = SocketActivation.take(name, path) {
      // Its path is systemd's to make and to remove.
      socket = Descriptor(owning: given)
      made = nil
    } else {
      let folder = try Folder(path.folder)
      socket = try Listener.bind(path, folder, owner, group, mode)
      do throws(Failure) { made = (folder, try folder.descriptor.status(of: path.name)) } catch {
        throw Listener.failure(error, path)
      }
    }
    do { acceptor = try Acceptor(socket, accept: accept) } catch {
      if let made {
        try? made.folder.descriptor.remove(path.name)
      } else {
        SocketActivation.giveBack(name, path)
      }
      throw Failure("\(path): the socket cannot be served: \(error)")
    }
  }

  /// Whether systemd made the socket: then path, group and mode are its to choose.
  var isHandedOver: Bool { made == nil }

  /// Whether the socket at the path is still this one; one that was handed over always is.
  var isInPlace: Bool {
    guard let made else { return true }
    guard let found = try? made.folder.descriptor.status(of: path.name) else { return false }
    return found.inode == made.status.inode && found.device == made.status.device
      && (try? FileSystem.status(of: path.description))?.inode == found.inode
  }

  /// Whether the socket has these attributes; those of one that was handed over are systemd's.
  func has(owner: UInt32?, group: UInt32?, mode: UInt16) -> Bool {
    guard let made else { return true }
    guard let found = try? made.folder.descriptor.status(of: path.name) else { return false }
    return found.mode == mode && found.owner == owner ?? Accounts.own
      && found.group == group ?? made.folder.groupOfNewFiles
  }

  /// Takes in those who wait, and whoever comes from now on.
  func begin() { acceptor.begin() }

  /// Gives the socket these attributes, nil for what a new one would have: whoever may connect
  /// neither with the old ones nor with the new ones cannot in between. When it fails, the old ones
  /// are put back, if that works. A socket that was handed over stays as it is.
  func change(owner: UInt32?, group: UInt32?, mode: UInt16) throws(Failure) {
    guard let made else { return }
    do throws(Failure) {
      let before = try made.folder.descriptor.status(of: path.name)
      do throws(Failure) {
        try set(owner ?? Accounts.own, group ?? made.folder.groupOfNewFiles, mode, made.folder)
      } catch {
        try? set(before.owner, before.group, before.mode, made.folder)
        throw error
      }
    } catch { throw Listener.failure(error, path) }
  }

  private func set(
    _ owner: UInt32, _ group: UInt32, _ mode: UInt16, _ folder: Folder
  ) throws(Failure) {
    let name = path.name
    let now = try folder.descriptor.status(of: name)
    // Changing the mode of what is another's would take CAP_FOWNER.
    if now.owner != Accounts.own { try folder.descriptor.changeOwner(of: name, Accounts.own, nil) }
    if now.mode != mode { try folder.descriptor.changeMode(of: name, now.mode & mode) }
    if now.group != group { try folder.descriptor.changeOwner(of: name, nil, group) }
    if now.mode != mode { try folder.descriptor.changeMode(of: name, mode) }
    if owner != Accounts.own { try folder.descriptor.changeOwner(of: name, owner, nil) }
  }

  /// Ends the listener, and removes its socket if that is still its own. A disk can hang: not for
  /// the main queue.
  func close() {
    acceptor.close()
    if let made {
      if isInPlace { try? made.folder.descriptor.remove(path.name) }
    } else {
      SocketActivation.giveBack(name, path)
    }
  }

  private static func bind(
    _ path: Path, _ folder: Folder, _ owner: UInt32?, _ group: UInt32?, _ mode: UInt16
  ) throws(Failure) -> Descriptor {
    try clear(path, folder)
    do throws(Failure) {
      let socket = Descriptor(
        owning: try result { unsafe linux_bind(path.description) })
      do throws(Failure) {
        // The group before the mode, so that no other group can connect for a moment.
        if group != nil { try folder.descriptor.changeOwner(of: path.name, nil, group) }
        try folder.descriptor.changeMode(of: path.name, mode)
        if owner != nil { try folder.descriptor.changeOwner(of: path.name, owner, nil) }
      } catch {
        try? folder.descriptor.remove(path.name)
        throw error
      }
      return socket
    } catch { throw failure(error, path) }
  }

  private static func failure(_ error: Failure, _ path: Path) -> Failure {
    let advice =
      switch error.code {
      case EPERM:
        ": \(Accounts.describe(user: Accounts.own)) may not give it to others: it needs CAP_CHOWN, "
          + "to be in that group, or no owner and group there"
      case EACCES:
        ": let \(Accounts.describe(user: Accounts.own)) write to \(path.folder)"
      case ENOENT: ": create the folder \(path.folder)"
      default: ""
      }
    return Failure(
      "\(path): the socket cannot be made: \(error)\(advice)", code: error.code)
  }

  /// Removes a socket that nobody serves; throws when somebody does, or when it is no socket.
  private static func clear(_ path: Path, _ folder: Folder) throws(Failure) {
    guard let status = try? folder.descriptor.status(of: path.name) else { return }
    guard status.kind == .socket else {
      throw Failure("\(path): there is something other than a socket: remove it")
    }
    guard unsafe linux_is_answered(path.description) == 0 else {
      throw Failure(
        "\(path): somebody answers there: another jotd runs with this configuration",
        code: EADDRINUSE)
    }
    do { try folder.descriptor.remove(path.name) } catch {
      throw error.about("\(path): the old socket cannot be removed")
    }
  }
}
