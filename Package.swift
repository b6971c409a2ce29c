// swift-tools-version: 6.2
import PackageDescription

/// The one set of compiler settings, for every Swift target.
let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]

let package = Package(
  name: "jotd",
  products: [.executable(name: "jotd", targets: ["jotd"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
    .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
  ],
  targets: [
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(
      name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
    .target(name: "CKeyMemory", dependencies: ["COpenSSL"]),
    .target(name: "CLinux"),
    .target(
      name: "Rotation",
      dependencies: [
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "jotd",
      dependencies: [
        "CKeyMemory", "CLinux", "COpenSSL", "CSystemd", "CYAML", "Rotation",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: settings,
      // Exported names, and three words for each relocation, would be a tenth of the program.
      linkerSettings: [
        .unsafeFlags(
          [
            "-use-ld=lld", "-Xlinker", "--no-export-dynamic", "-Xlinker", "-z", "-Xlinker",
            "pack-relative-relocs",
          ], .when(configuration: .release))
      ]),
    .testTarget(name: "RotationTests", dependencies: ["Rotation"], swiftSettings: settings),
    .testTarget(
      name: "JotdTests",
      dependencies: [
        "jotd", "Rotation", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
      ],
      swiftSettings: settings),
  ]
)

/// Builds the program as a library without its own main, for an executable that calls its code.
@MainActor func harness(_ name: String, path: String, exclude: [String], _ more: [SwiftSetting]) {
  guard let program = package.targets.first(where: { $0.name == "jotd" }) else { return }
  package.products = []
  package.targets.removeAll { $0.name == "jotd" }
  package.targets += [
    .target(
      name: "jotd", dependencies: program.dependencies, exclude: ["Commands/Program.swift"],
      swiftSettings: settings),
    .executableTarget(
      name: name,
      dependencies: ["jotd", "Rotation", .product(name: "NIOEmbedded", package: "swift-nio")],
      path: path, exclude: exclude, swiftSettings: settings + more),
  ]
}

if Context.environment["JOTD_FUZZING"] != nil {
  // libFuzzer brings a main of its own.
  harness(
    "Fuzzing", path: "Tests/Fuzzing", exclude: ["corpus", "run.sh"],
    [.unsafeFlags(["-parse-as-library"])])
} else if Context.environment["JOTD_MINTING"] != nil {
  harness("Minting", path: "Tests/bench/Minting", exclude: [], [])
}
