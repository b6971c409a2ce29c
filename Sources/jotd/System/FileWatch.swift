import Dispatch
import Rotation
import Synchronization

/// Notices that a file was written or replaced, until it is let go. Watched are the folders of its
/// path and of what a link there leads to: a replaced file is another inode. Paths are followed,
/// which can hang.
final class FileWatch: Sendable {
  private let path: String
  private let inotify: Inotify
  private let listener: Inotify.Listener
  private let watched = Mutex<[Path: Inotify.Watch]>([:])
  /// Whether something happened that `changed` was not told yet.
  private let isDue = Atomic(false)
  /// Of its own, because it can hang.
  private let queue = DispatchQueue(label: "jotd.secret")
  private let changed: @Sendable () -> Void

  /// `changed` is called on another thread once the file is watched, and after anything happened
  /// in one of its folders.
  init(_ path: String, _ inotify: Inotify, changed: @escaping @Sendable () -> Void) {
    self.path = path
    self.inotify = inotify
    self.changed = changed
    listener = inotify.makeListener()
    inotify.listen(listener) { [weak self] _ in self?.lookSoon() }
    // What happened before the folders were watched is missed by nobody who looks now.
    Threads.run { [weak self] in self?.look() }
  }

  deinit { inotify.end(listener) }

  /// Watches the folders as they are now; call it again when one may have been replaced. Not for
  /// the main queue.
  func renew() {
    watched.withLock { watched in
      let files = [path, FileSystem.resolved(path)].compactMap(\.self)
      let folders = Set(files.map { Path($0).folder })
      for (folder, watch) in watched where !folders.contains(folder) {
        inotify.forget(watch, listener)
        watched[folder] = nil
      }
      for folder in folders { watched[folder] = try? inotify.watch(folder.description, listener) }
    }
  }

  private func lookSoon() {
    if isDue.exchange(true, ordering: .acquiringAndReleasing) { return }
    queue.async { [weak self] in
      self?.isDue.store(false, ordering: .sequentiallyConsistent)
      self?.look()
    }
  }

  private func look() {
    renew()
    changed()
  }
}
