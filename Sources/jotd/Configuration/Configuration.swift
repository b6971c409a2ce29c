import Glibc
import Rotation

/// The files of one configuration, and how they become settings.
enum Configuration {
  static let standardPath = "/etc/jotd/jotd.yaml"
  /// Where the query socket is looked for when no configuration says where it is.
  static let standardSocket = Path("/run/jotd/jotd.sock")

  /// Reads `path` and the `*.yaml` of its `.d` folder in name order. When anything is wrong with
  /// them, the diagnostics have an error, and the settings are what could be read, or nil.
  static func load(_ path: String, _ diagnostics: Diagnostics) -> Settings? {
    var reader = ConfigurationReader(diagnostics)
    var reading = ConfigurationVersion.Reading()
    read(path, diagnostics, &reading) { reader.readMain($0, file: path) }
    for file in additions(to: path, diagnostics) {
      read(file, diagnostics, &reading) { root in reader.readAddition(root, file: file) }
    }
    var settings = reader.settings
    settings?.version = reading.version(path)
    return settings
  }

  /// `dir/name.yaml` -> `dir/name.d`.
  static func folder(of path: String) -> String {
    let ending = [".yaml", ".yml"].first { path.utf8.ends(with: $0) } ?? ""
    return String(Substring(path.utf8.dropLast(ending.utf8.count))) + ".d"
  }

  /// The files of the `.d` folder that are read, in their order; none when there is no such folder.
  /// Throws when it cannot be read.
  static func additions(to path: String) throws(Failure) -> [String] {
    let folder = folder(of: path)
    let names: [String]
    do { names = try FileSystem.names(in: folder) } catch {
      if error.isNotFound { return [] }
      throw error
    }
    return
      names
      .filter { $0.utf8.ends(with: ".yaml") && $0.utf8.first != UInt8(ascii: ".") }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
      .map { "\(folder)/\($0)" }
  }

  private static func additions(to path: String, _ diagnostics: Diagnostics) -> [String] {
    let folder = folder(of: path)
    do {
      let files = try additions(to: path)
      inspect(folder, diagnostics)
      return files
    } catch {
      diagnostics.error(
        SourceLocation(file: folder), "cannot be read: \(error)", isTransient: error.isTransient)
      return []
    }
  }

  private static func read(
    _ file: String, _ diagnostics: Diagnostics, _ reading: inout ConfigurationVersion.Reading,
    _ use: (YAMLNode?) -> Void
  ) {
    do {
      let bytes = try FileSystem.contents(of: file, upTo: Limits.configurationBytes)
      reading.add(file, bytes)
      inspect(file, diagnostics)
      do throws(Diagnostic) {
        use(try YAMLDocument.root(of: bytes, file: file, diagnostics))
      } catch {
        diagnostics.error(error.location, error.text)
      }
    } catch {
      let start = SourceLocation(file: file, line: 1, column: 1)
      switch error.code {
      case EFBIG:
        diagnostics.error(start, "is longer than \(Limits.configurationBytes >> 20) MiB")
      case EINVAL: diagnostics.error(start, "is not a regular file")
      default:
        diagnostics.error(
          SourceLocation(file: file), "cannot be read: \(error)", isTransient: error.isTransient)
      }
    }
  }

  /// Whoever can write the configuration can have any token made, so it must not be everybody.
  private static func inspect(_ path: String, _ diagnostics: Diagnostics) {
    guard let status = try? FileSystem.status(of: path) else { return }
    let start = SourceLocation(file: path, line: 1, column: 1)
    if status.mode & 0o002 != 0, status.kind != .folder || status.mode & 0o1000 == 0 {
      diagnostics.error(
        start, "can be written by everybody, who could have any token made: chmod o-w")
    } else if !Accounts.trusted.contains(status.owner) {
      diagnostics.warn(
        start,
        "belongs to \(Accounts.describe(user: status.owner)), who can have any token made")
    }
  }
}
