cwlVersion: v1.2
class: CommandLineTool
id: decloud
label: Remove clouds from a stack of satellite images
doc: Fills the clouds of each date from the other dates. Pixels that are not cloud come back as they were.
$namespaces:
  s: https://schema.org/
s:softwareVersion: 0.1.0

baseCommand: [ngr-geo, decloud]
hints:
  DockerRequirement:
    dockerPull: ngr_geo:0.1.0
  ResourceRequirement:
    coresMin: 1
    ramMin: 4096
successCodes: [0, 4]

inputs:
  images:
    type: File[]
    doc: One raster for each date, with the same bands and its date in its name; or one NetCDF file.
    inputBinding:
      position: 1
  masks:
    type:
      - "null"
      - type: array
        items: File
        inputBinding:
          prefix: --clouds
    doc: Masks such as SCL, QA_PIXEL or Fmask, or 1 = cloud, matched by date. By default a band or variable with a well-known name.
    inputBinding:
      position: 2
  classes:
    type: int[]?
    doc: Codes of the mask that count as cloud.
    inputBinding:
      position: 3
      prefix: --classes
      itemSeparator: ","
  dates:
    type: string[]?
    doc: Fill and write only these dates, such as 2023-08-18; the others are still used.
    inputBinding:
      position: 3
      prefix: --dates
      itemSeparator: ","
  method:
    type: string?
    default: auto
    doc: auto, ngr or guide.
    inputBinding:
      position: 3
      prefix: --method
  uncertainty:
    type: boolean?
    doc: Also write a standard deviation of each filled value.
    inputBinding:
      position: 3
      prefix: --uncertainty
  tile:
    type: int?
    doc: Side of the tiles, in pixels.
    inputBinding:
      position: 3
      prefix: --tile
  device:
    type: string?
    doc: cpu, cuda; by default the fastest that there is.
    inputBinding:
      position: 3
      prefix: --device

arguments:
  - {position: 4, prefix: --output, valueFrom: restored/}
  - {position: 4, prefix: --report, valueFrom: report.html}
  - {position: 4, valueFrom: --stac}
  - {position: 4, valueFrom: --json}

stdout: summary.json

outputs:
  restored:
    type: Directory
    doc: A GeoTIFF for each date, NAME_filled.tif (1 = filled), and a STAC item, NAME.stac.json.
    outputBinding:
      glob: restored
  report:
    type: File
    doc: Before and after, expected errors, and what speaks against trusting the result.
    outputBinding:
      glob: report.html
  summary:
    type: stdout
    doc: What was done to each date, as JSON.
