import Glibc
import Rotation

/// Keeps a second jotd from running with the same configuration: a lock (flock(2)) on a file that
/// nobody but root and jotd's own user can open. It ends with the process, however that ends.
///
/// The file is in a folder for what runs, never beside a delivery: an open file would keep its disk
/// from being unmounted.
final class RunLock: Sendable {
  private let folder: Folder
  private let name: String
  private let file: Descriptor

  private init(_ folder: Folder, _ name: String, _ file: consuming Descriptor) {
    self.folder = folder
    self.name = name
    self.file = file
  }

  /// Takes the lock for the configuration at `path`; EADDRINUSE when another process has it. Nil
  /// when there is no folder for it.
  static func take(for path: String) throws(Failure) -> RunLock? {
    let name = fileName(for: FileSystem.resolved(path) ?? path)
    for place in folders {
      guard let folder = try? Folder(place) else { continue }
      do throws(Failure) { return RunLock(folder, name, try lock(name, folder)) } catch {
        guard error.code == EWOULDBLOCK else { continue }
        throw Failure(
          "another jotd runs with this configuration: it holds \(place)/\(name)",
          code: EADDRINUSE)
      }
    }
    return nil
  }

  /// Gives the lock up by removing its file: the next process makes and locks another one.
  func release() { try? folder.descriptor.remove(name) }

  /// What systemd made for the service (systemd.exec(5), RuntimeDirectory=), so that root's own
  /// jotd meets it there; and what others have for what runs. In /tmp, somebody else's file of that
  /// name is passed over.
  private static var folders: [Path] {
    let given = Environment["RUNTIME_DIRECTORY"]?.split(separator: ":").first.map(String.init)
    let places = [given, "/run/jotd", "/run", Environment["XDG_RUNTIME_DIR"], "/tmp"]
    return places.compactMap(\.self).map(Path.init)
  }

  /// Names the configuration's path by its last part and a hash (FNV-1a) of it all.
  private static func fileName(for path: String) -> String {
    ".\(TemporaryName.stem(Path(path).name)).\(String(path.fnv1a, radix: 16)).lock"
  }

  private static func lock(_ name: String, _ folder: Folder) throws(Failure) -> Descriptor {
    while true {
      let file = try folder.descriptor.open(name, [.write, .create, .noFollow, .nonBlocking])
      let status = try file.status()
      // Whoever else owns it could keep it locked.
      guard status.kind == .file, Accounts.trusted.contains(status.owner) else {
        throw Failure(errno: EPERM)
      }
      try file.lock()
      // Made by root in the folder of the service's user, it must not keep the service out.
      let owner = try folder.descriptor.status().owner
      if Accounts.own == 0, status.owner != owner { try? file.changeOwner(owner, nil) }
      // Whoever had it before may have removed it just now.
      if (try? folder.descriptor.status(of: name))?.inode == status.inode { return file }
    }
  }
}
