import Dispatch
import Glibc
import Rotation

/// Notices that a file was written or replaced (inotify(7)): watches the folders of its path and
/// of what a link leads to, because a replaced file is another inode.
@MainActor
final class FileWatch {
  private let path: String
  private let queue: Int32
  private let source: any DispatchSourceRead
  private var watched: [Path: Int32] = [:]

  /// `changed` is called on the main queue after anything happened in one of the folders. Nil
  /// when the kernel gives no watch.
  init?(_ path: String, changed: @escaping @MainActor () -> Void) {
    self.path = path
    queue = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    guard queue >= 0 else { return nil }
    source = DispatchSource.makeReadSource(fileDescriptor: queue, queue: .main)
    let queue = queue
    source.setCancelHandler { close(queue) }
    source.setEventHandler { [weak self] in
      MainActor.assumeIsolated {
        self?.drain()
        self?.renew()
        changed()
      }
    }
    source.resume()
    renew()
  }

  isolated deinit { source.cancel() }

  /// Watches the folders as they are now; call again when one may have been replaced.
  func renew() {
    let files = [path, FileSystem.resolved(path)].compactMap(\.self)
    let folders = Set(files.map { Path($0).folder })
    for (folder, watch) in watched where !folders.contains(folder) {
      inotify_rm_watch(queue, watch)
      watched[folder] = nil
    }
    let events =
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB
      | IN_DELETE_SELF | IN_MOVE_SELF
    for folder in folders {
      let watch = unsafe inotify_add_watch(queue, folder.description, UInt32(events))
      watched[folder] = watch >= 0 ? watch : nil
    }
  }

  private func drain() {
    unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
      while unsafe read(queue, buffer.baseAddress!, buffer.count) > 0 {}
    }
  }
}
