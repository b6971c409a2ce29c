import Glibc
import Rotation

/// Keeps a folder of keys for one ring: no other, of this jotd or another one, changes it while
/// this lives.
final class KeyFolderLock: Sendable {
  private let folder: Descriptor

  /// Throws when somebody else has it, with EWOULDBLOCK.
  init(_ path: Path) throws(Failure) {
    folder = try Descriptor.open(path.description, [.folder, .noFollow])
    do throws(Failure) { try folder.lock() } catch {
      throw error.code == EWOULDBLOCK
        ? Failure(
          "\(path) is in use: by another jotd, or by another key of this one", code: EWOULDBLOCK)
        : error.about("\(path)")
    }
  }
}
