import Dispatch
import Rotation
import Synchronization

/// Notices that a file was written or replaced, until it is let go.
@MainActor
final class FileWatch {
  /// The folders that are watched.
  let folders: WatchedFolders
  private let inotify: Inotify

  /// `changed` is called on another thread once the folders are watched, and after anything
  /// happened in one of them. Nil when the kernel gives no watch.
  init?(_ path: String, changed: @escaping @Sendable () -> Void) {
    guard let inotify = Inotify() else { return nil }
    let folders = WatchedFolders(path, inotify)
    let queue = DispatchQueue(label: "jotd.secret")
    self.folders = folders
    self.inotify = inotify
    inotify.begin(on: queue) { _ in
      folders.renew()
      changed()
    }
    // What happened before the folders were watched is missed by nobody who looks now.
    Threads.run {
      folders.renew()
      changed()
    }
  }

  isolated deinit { inotify.end() }
}

/// The folders of a file's path and of what a link there leads to: a replaced file is another
/// inode, so that not the file is watched. Paths are followed, which can hang.
final class WatchedFolders: Sendable {
  private let path: String
  private let inotify: Inotify
  private let watched = Mutex<[Path: Inotify.Watch]>([:])

  fileprivate init(_ path: String, _ inotify: Inotify) {
    self.path = path
    self.inotify = inotify
  }

  /// Watches the folders as they are now; call it again when one may have been replaced. Not for
  /// the main queue.
  func renew() {
    watched.withLock { watched in
      let files = [path, FileSystem.resolved(path)].compactMap(\.self)
      let folders = Set(files.map { Path($0).folder })
      for (folder, watch) in watched where !folders.contains(folder) {
        inotify.forget(watch)
        watched[folder] = nil
      }
      for folder in folders { watched[folder] = try? inotify.watch(folder.description) }
    }
  }
}
