import Glibc
import Rotation

/// Carries out work at the places of deliveries, on one worker.
struct DeliveryWorker {
  private struct Kept {
    let folder: Folder
    let opened: ContinuousClock.Instant
    /// Nil without a watch.
    let mark: FolderWatch.Mark?
    var isSynced = false
  }

  /// The folders of the last jobs: jobs come in crowds, often for one folder, and its path is then
  /// walked once.
  private var folders: [Path: Kept] = [:]

  /// A folder that was replaced meanwhile is used for this long at most, and no longer than until
  /// the watch knows.
  private static let memory = Duration.milliseconds(50)

  private let sockets: TokenSockets
  private let watch: FolderWatch?

  /// `sockets` are those of this process; `watch` is told of the folders.
  init(_ sockets: TokenSockets, _ watch: FolderWatch?) {
    self.sockets = sockets
    self.watch = watch
  }

  /// Carries out `work`, and says how it ended.
  mutating func perform(_ work: DeliveryWork) -> Outcome {
    switch work {
    case .job(let job):
      do throws(Failure) { return try perform(job) } catch {
        folders[job.folder] = nil
        return .failed(error)
      }
    case .sign(let job):
      var signature: [UInt8] = []
      do throws(Failure) { try job.signer.sign(job.message, into: &signature) } catch {
        return .failed(error)
      }
      return .signed(signature)
    case .sweep(let path, let stems):
      if let folder = try? Folder(path) { FileWriter.sweep(folder, stems) }
      return .done
    }
  }

  private mutating func perform(_ job: Job) throws(Failure) -> Outcome {
    switch (job.delivery, job.operation) {
    case (.file(let file), .look): return try look(at: file, in: job.folder)
    case (.file(let file), .write(let content)):
      try FileWriter.write(content, to: file, in: folder(job.folder))
    case (.file(let file), .remove):
      do throws(Failure) { return try FileWriter.remove(file, in: folder(job.folder)) } catch {
        // No folder, no file.
        if error.code == ENOENT { return .found(.nothing) }
        throw error
      }
    case (.socket(let socket), .write(let token)):
      // Only to have it watched: why it cannot be opened is for the socket to say.
      _ = try? folder(job.folder)
      try sockets.serve(token, of: "\(job.subject)", at: socket)
    case (.socket(let socket), .remove): sockets.close(socket.path)
    case (.socket(let socket), .look):
      _ = try? folder(job.folder)
      return .found(sockets.look(at: socket))
    }
    return .done
  }

  /// Makes durable, first, what was renamed just before a crash: a token that is kept may be one
  /// of those.
  private mutating func look(
    at file: FileDelivery, in path: Path
  ) throws(Failure) -> Outcome {
    let folder: Folder
    // Why it cannot be opened is for the write to say.
    do throws(Failure) { folder = try self.folder(path) } catch {
      return .found(.nothing)
    }
    if folders[path]?.isSynced == false, !folder.isInMemory {
      try? folder.descriptor.sync()
      folders[path]?.isSynced = true
    }
    return .found(FileWriter.look(at: file, in: folder))
  }

  private mutating func folder(_ path: Path) throws(Failure) -> Folder {
    let now = ContinuousClock.now
    if let kept = folders[path], now - kept.opened < DeliveryWorker.memory, isCurrent(kept, path) {
      return kept.folder
    }
    if folders.count >= Limits.foldersKept { folders = [:] }
    folders[path] = nil
    let folder = try Folder(path)
    guard let watch else {
      folders[path] = Kept(folder: folder, opened: now, mark: nil)
      return folder
    }
    if let mark = watch.watch(folder) {
      folders[path] = Kept(folder: folder, opened: now, mark: mark)
    }
    return folder
  }

  private func isCurrent(_ kept: Kept, _ path: Path) -> Bool {
    guard let watch, let mark = kept.mark else { return true }
    return watch.isCurrent(path, mark)
  }
}
