import Glibc
import Rotation

/// Keeps a folder of keys for one ring: no other, of this jotd or another one, changes it while
/// this lives.
final class KeyFolderLock: Sendable {
  private let folder: Folder

  /// Throws when somebody else has it, with EWOULDBLOCK.
  init(_ folder: Folder) throws(Failure) {
    self.folder = folder
    do throws(Failure) { try folder.descriptor.lock() } catch {
      throw error.code == EWOULDBLOCK
        ? Failure(
          "\(folder.path) is in use: by another jotd, or by another key of this one",
          code: EWOULDBLOCK)
        : error.about("\(folder.path)")
    }
  }
}
