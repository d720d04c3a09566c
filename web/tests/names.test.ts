import { expect, test } from "vitest";
import { duration, millilitres, phaseOf, size, stage, structure } from "../src/names";

test.each([
  ["A.nii.gz", "A"],
  ["P.nii", "P"],
  ["D.nii.gz", "D"],
  ["case12_arterial_1mm.nii.gz", "A"],
  ["PortalVenous.nii.gz", "P"],
  ["CT_venous.nii.gz", "P"],
  ["patient_delayed.nii.gz", "D"],
  ["Excretory-phase.nii", "D"],
  ["scan_0001.nii.gz", null],
  ["abdomen.nii.gz", null],
  ["report.nii.gz", null],
])("the name %s speaks of phase %s", (name, phase) => {
  expect(phaseOf(name)).toBe(phase);
});

test("structures have names for people", () => {
  expect(structure("kidney_left")).toBe("Left kidney");
  expect(structure("rib_right_11")).toBe("Right rib 11");
  expect(structure("tumor")).toBe("Tumour");
});

test("stages say the step first", () => {
  expect(stage("inference: vessel: inference")).toBe("Arteries and veins: inference");
  expect(stage("scene: kidney_left")).toBe("Smooth surfaces: kidney left");
});

test("numbers are as people say them", () => {
  expect([size(999), size(1_500_000), size(2e9)]).toEqual(["999 B", "1.5 MB", "2.0 GB"]);
  expect([millilitres(7.12), millilitres(1640.2)]).toEqual(["7.1 mL", "1,640 mL"]);
  expect([duration(2.34), duration(64), duration(600), duration(9000)]).toEqual([
    "2.3 s",
    "64 s",
    "10 min",
    "2.5 h",
  ]);
});
