cwlVersion: v1.2
class: CommandLineTool
id: repair
label: Mend a spectrometer's cube
doc: Mends bad pixels that a product ships, dead lines, stripes and noise, in this order.
$namespaces:
  s: https://schema.org/
s:softwareVersion: 0.1.0

baseCommand: [ngr-geo, repair]
hints:
  DockerRequirement:
    dockerPull: ngr_geo:0.1.0
  ResourceRequirement:
    coresMin: 1
    ramMin: 4096
successCodes: [0, 4]

inputs:
  cube:
    type: [File, Directory]
    doc: A product such as an EnMAP zip or folder, a PRISMA HE5 or an EMIT NetCDF file; or one raster.
    inputBinding:
      position: 1
  faults:
    type: string[]?
    doc: What is mended, of bad pixels, lines, stripes, noise. By default all.
    inputBinding:
      position: 2
      prefix: --faults
      itemSeparator: ","
  noise:
    type: string?
    default: auto
    doc: auto, gaussian or mixed.
    inputBinding:
      position: 2
      prefix: --noise
  tile:
    type: int?
    doc: Side of the tiles, in pixels.
    inputBinding:
      position: 2
      prefix: --tile
  device:
    type: string?
    doc: cpu, cuda; by default the fastest that there is.
    inputBinding:
      position: 2
      prefix: --device

  stac:
    type: boolean?
    doc: Also write a STAC item; the date has to be in the name or the tags of the file.
    inputBinding:
      position: 2
      prefix: --stac

arguments:
  - {position: 3, prefix: --output, valueFrom: repaired.tif}
  - {position: 3, prefix: --report, valueFrom: report.html}
  - {position: 3, valueFrom: --json}

stdout: summary.json

outputs:
  repaired:
    type: File
    doc: The cube, and beside it repaired_filled.tif (1 = filled).
    secondaryFiles:
      - {pattern: ^_filled.tif, required: false}
      - {pattern: ^.stac.json, required: false}
    outputBinding:
      glob: repaired.tif
  report:
    type: File
    doc: Before and after, expected errors, and what speaks against trusting the result.
    outputBinding:
      glob: report.html
  summary:
    type: stdout
    doc: What was done, as JSON.
