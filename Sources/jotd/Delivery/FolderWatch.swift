import Dispatch
import Glibc
import Rotation
import Synchronization

/// Notices what others do to deliveries, by their folders: a file that is removed, emptied, moved
/// away, replaced or given away. What jotd does itself there is passed over. Costs nothing while
/// nothing happens, and some fifty wake-ups a second at most (`Limits.changeGathering`).
final class FolderWatch: Sendable {
  private struct State {
    /// The paths that are delivered to.
    var wanted: Set<Path> = []
    var wantedFolders: Set<Path> = []
    var watches: [Path: Inotify.Watch] = [:]
    /// Several where a folder has several paths.
    var folders: [Inotify.Watch: Set<Path>] = [:]
    /// Said already that not all can be watched.
    var isLacking = false
  }

  /// What happened and was not told yet, and when which was told last. Used on the queue alone; its
  /// lock is for the compiler.
  private struct Pending {
    var paths: Set<Path> = []
    var told: [Path: ContinuousClock.Instant] = [:]
    /// The rename of jotd's own whose second half comes next.
    var ownRename: UInt32?
    var isArmed = false
  }

  private let inotify: Inotify
  private let listener: Inotify.Listener
  private let state = Mutex(State())
  private let pending = Mutex(Pending())
  /// Counts the folders that ceased to be watched.
  private let losses = Atomic(0)
  private let changed: @Sendable (Set<Path>) -> Void
  private let lacking: @Sendable (Failure) -> Void

  /// Tells for as long as the process runs: `changed` is called on another thread with the paths
  /// of deliveries that somebody may have changed; `lacking` once, on any thread, when not all
  /// folders can be watched.
  init(
    _ inotify: Inotify,
    changed: @escaping @Sendable (Set<Path>) -> Void,
    lacking: @escaping @Sendable (Failure) -> Void
  ) {
    self.inotify = inotify
    self.changed = changed
    self.lacking = lacking
    // truncate(2) opens nothing, and so closes nothing.
    listener = inotify.makeListener(hearsEachWrite: true)
    inotify.listen(listener) { self.hear($0) }
  }

  /// From now on, the deliveries to these paths count, and no others.
  func want(_ paths: Set<Path>) {
    // One by one: they are far fewer than the paths.
    let folders = paths.reduce(into: Set()) { $0.insert($1.folder) }
    state.withLock { state in
      state.wanted = paths
      state.wantedFolders = folders
      for folder in state.watches.keys where !folders.contains(folder) { forget(folder, &state) }
    }
  }

  /// Tells the folder that was watched at a path from those that come after it; empty where none
  /// could be watched.
  struct Mark {
    fileprivate let watch: Inotify.Watch?
    /// How many folders had ceased to be watched before.
    fileprivate let losses: Int
  }

  /// Whether the folder that is watched at `path` is still the one of this mark.
  func isCurrent(_ path: Path, _ mark: Mark) -> Bool {
    mark.watch != nil && losses.load(ordering: .acquiring) == mark.losses
      || state.withLock { $0.watches[path] == mark.watch }
  }

  /// Watches a folder that is delivered into; to be called each time that it is opened for a look
  /// or a write, because a folder of that path may be another one now. By its descriptor, so that
  /// it is the very folder that is written to, and no path is walked. Nil when another folder was
  /// watched at this path: then neither is watched any more, all deliveries there are looked at,
  /// and these looks find out which folder it is now.
  func watch(_ folder: Folder) -> Mark? {
    let losses = losses.load(ordering: .acquiring)
    let (isWanted, isKnown) = state.withLock { state in
      (
        state.wantedFolders.contains(folder.path),
        state.watches[folder.path] != nil || state.watches.count < Limits.watchedFolders
      )
    }
    // What is only removed there is watched no more.
    guard isWanted else { return Mark(watch: nil, losses: losses) }
    do throws(Failure) {
      guard isKnown else { throw Failure(errno: ENOSPC) }
      let watch = try inotify.watch(
        "/proc/self/fd/\(folder.descriptor.number)", listener)
      let isOther = state.withLock { state in
        let before = state.watches[folder.path]
        if before == watch { return false }
        if before != nil {
          // What the kernel tells of the new one is passed over until a look takes it up.
          forget(folder.path, &state)
          return true
        }
        state.watches[folder.path] = watch
        state.folders[watch, default: []].insert(folder.path)
        return false
      }
      guard isOther else { return Mark(watch: watch, losses: losses) }
      inotify.queue.async { self.lose(folder.path) }
      return nil
    } catch {
      let isFirst = state.withLock { state in
        defer { state.isLacking = true }
        return !state.isLacking
      }
      guard isFirst else { return Mark(watch: nil, losses: losses) }
      let reason =
        error.code == ENOSPC
        ? "as many folders are watched as can be (fs.inotify.max_user_watches; jotd watches "
          + "\(Limits.watchedFolders) at most)"
        : error.description
      lacking(
        Failure(
          "\(folder.path) cannot be watched: \(reason). What others take away or change there, or "
            + "in any further folder, is noticed only at the next rotation", code: error.code))
      return Mark(watch: nil, losses: losses)
    }
  }

  private func forget(_ folder: Path, _ state: inout State) {
    guard let watch = state.watches.removeValue(forKey: folder) else { return }
    losses.add(1, ordering: .releasing)
    state.folders[watch]?.remove(folder)
    guard state.folders[watch]?.isEmpty == true else { return }
    state.folders[watch] = nil
    inotify.forget(watch, listener)
  }

  // MARK: On the queue of inotify

  private func hear(_ events: [Inotify.Event]) {
    let found = paths(of: events)
    guard !found.isEmpty else { return }
    pending.withLock { $0.paths.formUnion(found) }
    tell()
  }

  /// Another folder than before has this path.
  private func lose(_ folder: Path) {
    let lost = state.withLock { $0.wanted.filter { $0.folder == folder } }
    pending.withLock { $0.paths.formUnion(lost) }
    tell()
  }

  /// The deliveries that these events concern.
  private func paths(of events: [Inotify.Event]) -> Set<Path> {
    // Nearly all is jotd's own: that is found out without the lock that workers ask for.
    let events = pending.withLock { pending in
      events.filter { !isOwn($0, &pending.ownRename) }
    }
    if events.isEmpty { return [] }
    return state.withLock { state in
      var found: Set<Path> = []
      var gone: Set<Path> = []
      for event in events {
        if event.isOverflow { found = state.wanted }
        guard let folders = state.folders[event.watch] else { continue }
        if event.isFolderGone || event.isForgotten {
          for folder in folders { forget(folder, &state) }
          gone.formUnion(folders)
        } else {
          for folder in folders {
            let name = String(decoding: event.name, as: UTF8.self)
            let path = Path(folder.description == "/" ? "/\(name)" : "\(folder)/\(name)")
            if state.wanted.contains(path) { found.insert(path) }
          }
        }
      }
      // All at once, because many can go together.
      if !gone.isEmpty { found.formUnion(state.wanted.lazy.filter { gone.contains($0.folder) }) }
      return found
    }
  }

  /// Whether jotd did it: something to a temporary file of this run, or the second half of its
  /// rename to a delivery, which follows the first at once.
  private func isOwn(_ event: Inotify.Event, _ rename: inout UInt32?) -> Bool {
    if let number = TemporaryName.number(of: event.name), TemporaryName.isOfThisRun(number) {
      if event.cookie != 0 { rename = event.cookie }
      return true
    }
    return event.cookie != 0 && event.cookie == rename
  }

  /// Tells what is to be told now: each path at most once in a while, so that two who put back what
  /// the other replaced do not keep a host busy.
  private func tell() {
    let now = ContinuousClock.now
    let (ready, rest) = pending.withLock { pending in
      pending.told = pending.told.filter { now - $0.value < Limits.putBackPause }
      let ready = pending.paths.filter { pending.told[$0] == nil }
      for path in ready { pending.told[path] = now }
      pending.paths.subtract(ready)
      let next = pending.paths.compactMap { pending.told[$0] }.min()
      guard let next, !pending.isArmed else { return (ready, ContinuousClock.Instant?.none) }
      pending.isArmed = true
      return (ready, next + Limits.putBackPause)
    }
    if !ready.isEmpty { changed(ready) }
    guard let rest else { return }
    inotify.queue.asyncAfter(deadline: .now() + (rest - now).interval) {
      self.pending.withLock { $0.isArmed = false }
      self.tell()
    }
  }
}
