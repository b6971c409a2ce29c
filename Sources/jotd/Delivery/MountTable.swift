import CLinux
import Glibc
import Rotation

/// The mount points of this process (proc(5), /proc/PID/mountinfo), which tell what hangs together:
/// asking a file system itself could hang.
final class MountTable {
  /// Open, so that poll(2) can tell of changes; -1 where it cannot be opened.
  private let table: Int32
  /// The mounts that it has, as of its last reading.
  private(set) var view = MountView()
  private var known: [Path: WorkPlace] = [:]

  init() {
    table = (try? Descriptor.open("/proc/self/mountinfo"))?.release() ?? -1
    read()
  }

  deinit { if table >= 0 { close(table) } }

  /// Reads the mount points again if they changed: to be called before places are asked for.
  func refresh() { if table >= 0, linux_has_priority_data(table) == 1 { read() } }

  /// The folder and the mount point that it most likely is on, by its name: links are not followed,
  /// because that could hang.
  func place(of folder: Path) -> WorkPlace {
    if let found = known[folder] { return found }
    let point = view.point(of: folder.description)
    let found = WorkPlace(
      folder: folder, fileSystem: String(decoding: point, as: UTF8.self),
      isInMemory: view.inMemory.contains(point))
    if known.count >= Limits.foldersKnown { known = [:] }
    known[folder] = found
    return found
  }

  private func read() {
    known = [:]
    view = MountView()
    guard
      let bytes = try? FileSystem.contents(
        of: "/proc/self/mountinfo", upTo: Limits.mountTableBytes)
    else { return }
    view.isRead = true
    for line in bytes.split(separator: 0x0a) {
      let fields = line.split(separator: 0x20)
      guard fields.count > 4 else { continue }
      view.add(fields, at: MountTable.unescaped(fields[4]))
    }
  }

  /// Blanks and backslashes are written in octal: `\040`.
  private static func unescaped(_ field: ArraySlice<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return bytes
  }
}

/// What this process sees otherwise than the rest of the host, by its mounts (proc(5),
/// /proc/PID/mountinfo; systemd.exec(5)).
struct MountView: Sendable {
  /// Why nobody else sees what is delivered to a folder.
  enum Seclusion: Sendable {
    /// PrivateTmp=: the folder lies in a /tmp of this process's own.
    case ownTmp
    /// ProtectHome= or InaccessiblePaths=: what is there is hidden from this process.
    case hidden
  }

  private var secluded: [[UInt8]: Seclusion] = [:]
  /// Mounts that are read-only here, of file systems that are not.
  private var readOnly: Set<[UInt8]> = []
  private var points: Set<[UInt8]> = []
  /// The folders of these.
  private var foldersOfPoints: Set<Path> = []
  /// Whether the table could be read.
  fileprivate(set) var isRead = false
  /// Those of tmpfs and ramfs.
  fileprivate private(set) var inMemory: Set<[UInt8]> = []

  /// Notes one line of the table, by its fields: the last of several at one point counts.
  fileprivate mutating func add(_ fields: [ArraySlice<UInt8>], at point: [UInt8]) {
    if points.insert(point).inserted {
      foldersOfPoints.insert(Path(String(decoding: point, as: UTF8.self)).folder)
    }
    let names = fields[3].split(separator: UInt8(ascii: "/")).map {
      String(decoding: $0, as: UTF8.self)
    }
    let end = fields.firstIndex { $0.elementsEqual("-".utf8) } ?? fields.endIndex
    func has(_ word: String, _ field: Int) -> Bool {
      guard field < fields.count else { return false }
      return fields[field].split(separator: UInt8(ascii: ",")).contains {
        $0.elementsEqual(word.utf8)
      }
    }
    let isInMemory = has("tmpfs", end + 1) || has("ramfs", end + 1)
    if isInMemory { inMemory.insert(point) } else { inMemory.remove(point) }
    let isReadOnly = has("ro", 5)
    if isReadOnly, !has("ro", end + 3) { readOnly.insert(point) } else { readOnly.remove(point) }
    let homes = ["/home", "/root", "/run/user"].map { Array($0.utf8) }
    if names.contains(where: { $0.hasPrefix("systemd-private-") }) {
      secluded[point] = .ownTmp
    } else if names.suffix(3) == ["systemd", "inaccessible", "dir"]
      || (isReadOnly && has("tmpfs", end + 1) && homes.contains(point))
    {
      secluded[point] = .hidden
    } else {
      secluded[point] = nil
    }
  }

  /// Why nobody else finds what is delivered to `folder`, a path without links; nil where nothing
  /// says so.
  func seclusion(of folder: String) -> Seclusion? { secluded[point(of: folder)] }

  /// Whether it is this process alone for which the folder is read-only (ProtectSystem=).
  func isReadOnlyHere(_ folder: String) -> Bool { readOnly.contains(point(of: folder)) }

  /// Whether a name in `folder`, a path without links, may be a mount point.
  func mayHavePoints(in folder: String) -> Bool {
    !isRead || foldersOfPoints.contains(Path(folder))
  }

  /// The mount point that a folder is on, by its name.
  fileprivate func point(of folder: String) -> [UInt8] {
    Array(folder.utf8).nearestAbove(where: points.contains)
  }
}

extension [UInt8] {
  /// The path of these bytes, or the nearest folder above it, that is so; the root if none is.
  fileprivate func nearestAbove(where isSo: ([UInt8]) -> Bool) -> [UInt8] {
    let slash = UInt8(ascii: "/")
    var path = self
    while path.count > 1, !isSo(path) {
      path.removeLast()
      while path.count > 1, path.last != slash { path.removeLast() }
      if path.count > 1 { path.removeLast() }
    }
    return path.isEmpty ? [slash] : path
  }
}
