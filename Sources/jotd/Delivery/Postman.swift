import Glibc
import Rotation

/// Carries out jobs at the places of deliveries, and looks at what is there.
struct Postman {
  /// The folder of the last job and when it was opened: jobs come in crowds, often for one
  /// folder, and its path is then walked once.
  private var folder: Folder?
  private var opened = ContinuousClock.now

  /// A folder that was replaced meanwhile goes unnoticed for this long at most.
  private static let memory = Duration.milliseconds(50)

  private let sockets: TokenSockets

  /// `sockets` are those of this process.
  init(_ sockets: TokenSockets) { self.sockets = sockets }

  /// Carries out `job`; says why when it fails.
  mutating func perform(_ job: Job) -> Failure? {
    do throws(Failure) {
      switch job.delivery {
      case .file(let file):
        switch job.deed {
        case .write(let content):
          try FileWriter.write(content, to: file, in: folder(of: file.path))
        case .remove:
          do throws(Failure) { try FileWriter.remove(file, in: folder(of: file.path)) } catch {
            // No folder, no file.
            if error.code != ENOENT { throw error }
          }
        }
      case .socket(let socket):
        switch job.deed {
        case .write(let token): try sockets.serve(token, at: socket)
        case .remove: sockets.close(socket.path)
        }
      }
      return nil
    } catch {
      folder = nil
      return error
    }
  }

  /// The bytes that `delivery` holds; nil when there are none, or not as configured.
  mutating func content(at delivery: Delivery) -> [UInt8]? {
    switch delivery {
    case .file(let file):
      guard let folder = try? folder(of: file.path) else { return nil }
      return FileWriter.content(of: file, in: folder)
    // A new process serves nothing yet.
    case .socket: return nil
    }
  }

  /// Removes the temporary files that a crash left beside `deliveries`, and makes durable what was
  /// renamed just before it: a token that is kept may be one of those.
  static func sweep(_ deliveries: some Sequence<Delivery>) {
    var stems: [Path: Set<[UInt8]>] = [:]
    for case .file(let file) in deliveries {
      stems[file.path.folder, default: []].insert(
        Array(TemporaryName.stem(file.path.name).utf8))
    }
    for (path, stems) in stems {
      guard let folder = try? Folder(path),
        let names = try? FileSystem.names(in: path.description)
      else { continue }
      for name in names {
        guard let stem = TemporaryName.stem(ofTemporary: name), stems.contains(stem),
          let status = try? folder.descriptor.status(of: name), status.kind == .file
        else { continue }
        try? folder.descriptor.remove(name)
      }
      if !folder.isInMemory { try? folder.descriptor.sync() }
    }
  }

  private mutating func folder(of path: Path) throws(Failure) -> Folder {
    let now = ContinuousClock.now
    if let folder, folder.path == path.folder, now - opened < Postman.memory { return folder }
    let folder = try Folder(path.folder)
    self.folder = folder
    opened = now
    return folder
  }
}
